/** Asks a bucket how it is set up (store-facts.ts): one request a question, none of which may fail more than its answer. */
import {
  GetBucketEncryptionCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  HeadBucketCommand,
} from './s3-sdk.js'
import type { LifecycleRule as S3LifecycleRule, ServerSideEncryptionRule } from '@aws-sdk/client-s3'
import { reasonOf } from '../errors.js'
import { sendOptions, type S3Access } from './s3-access.js'
import { s3Failure, statusOf } from './s3-errors.js'
import type { LifecycleRule, StoreFacts, Told } from './store-facts.js'

/** Codes that say "there is none", which is an answer. */
const NONE = new Set([
  'NoSuchLifecycleConfiguration',
  'ObjectLockConfigurationNotFoundError',
  'ServerSideEncryptionConfigurationNotFoundError',
])

/** Reads {@link StoreFacts}; rejects only when aborted. */
export async function readBucketFacts(access: S3Access, signal?: AbortSignal): Promise<StoreFacts> {
  const { client, bucket, prefix } = access
  const Bucket = bucket
  const options = sendOptions(access, { signal })
  const ask = async <T>(none: T, question: () => Promise<T | undefined>): Promise<Told<T>> => {
    try {
      const value = await question()
      return value === undefined ? { unknown: 'the answer of the store does not say' } : { value }
    } catch (error) {
      signal?.throwIfAborted()
      if (statusOf(error) === 404 && error instanceof Error && NONE.has(error.name)) return { value: none }
      return { unknown: reasonOf(s3Failure(error, { verb: 'ask', bucket, signal })) }
    }
  }
  const [region, accessKey, versioning, objectLock, encryption, lifecycle] = await Promise.all([
    ask('', async () => (await client.send(new HeadBucketCommand({ Bucket }), options)).BucketRegion),
    ask('', async () => (await client.config.credentials()).accessKeyId),
    ask<'on' | 'suspended' | 'off'>('off', async () => {
      const { Status } = await client.send(new GetBucketVersioningCommand({ Bucket }), options)
      return Status === undefined ? 'off' : Status === 'Enabled' ? 'on' : 'suspended'
    }),
    ask<string | null>(null, async () => {
      const { ObjectLockConfiguration: lock } = await client.send(
        new GetObjectLockConfigurationCommand({ Bucket }),
        options,
      )
      const { Mode, Days, Years } = lock?.Rule?.DefaultRetention ?? {}
      if (lock?.ObjectLockEnabled !== 'Enabled') return undefined
      return Mode === undefined ? 'without a default' : `${Mode}, ${Years ? `${Years} years` : `${Days ?? 0} days`}`
    }),
    ask<string | null>(null, async () => {
      const answer = await client.send(new GetBucketEncryptionCommand({ Bucket }), options)
      return algorithmOf(answer.ServerSideEncryptionConfiguration?.Rules)
    }),
    ask<LifecycleRule[]>([], async () => {
      const { Rules } = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket }), options)
      return Rules?.filter(({ Status }) => Status === 'Enabled').map(ruleOf)
    }),
  ])
  return { bucket, prefix, region, accessKey, versioning, objectLock, encryption, lifecycle }
}

function algorithmOf(rules: readonly ServerSideEncryptionRule[] = []): string | undefined {
  for (const { ApplyServerSideEncryptionByDefault: byDefault } of rules)
    if (byDefault?.SSEAlgorithm) return byDefault.SSEAlgorithm
  return undefined
}

/** A rule without a filter is about every object. */
function ruleOf(rule: S3LifecycleRule): LifecycleRule {
  const { Filter: filter, Expiration: expiration } = rule
  return {
    id: rule.ID ?? '',
    // the prefix beside the filter is how rules were written first, and some stores know no other
    prefix: filter?.And?.Prefix ?? filter?.Prefix ?? oldPrefixOf(rule),
    needsTags: filter?.Tag !== undefined || (filter?.And?.Tags?.length ?? 0) > 0,
    expires: expiration?.Days !== undefined || expiration?.Date !== undefined,
    transitions: (rule.Transitions ?? []).flatMap(({ StorageClass }) => StorageClass ?? []),
    expiresVersions: rule.NoncurrentVersionExpiration !== undefined,
    abortsUploads: rule.AbortIncompleteMultipartUpload !== undefined,
  }
}

function oldPrefixOf(rule: object): string {
  return 'Prefix' in rule && typeof rule.Prefix === 'string' ? rule.Prefix : ''
}
