/** What a bucket is asked about itself, and what a check makes of the answers. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { bucketFindings } from '#src/commands/bucket-findings.js'
import { openStorage } from '#src/storage/open-storage.js'
import { measureStorage } from '#src/storage/measure.js'
import type { Storage } from '#src/storage/storage.js'
import { readStoreFacts, type LifecycleRule, type StoreFacts } from '#src/storage/store-facts.js'
import { S3Endpoint, useTestCredentials } from '../../support/s3-endpoint.js'

useTestCredentials()

const VERSIONING_ON = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
const LOCK = `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>
  <Mode>GOVERNANCE</Mode><Days>30</Days></DefaultRetention></Rule></ObjectLockConfiguration>`
const ENCRYPTION = `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>
  <SSEAlgorithm>aws:kms</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`
const LIFECYCLE = `<LifecycleConfiguration>
  <Rule><ID>uploads</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>
    <AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>
  <Rule><ID>off</ID><Status>Disabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>
  <Rule><ID>cold</ID><Status>Enabled</Status><Filter><And><Prefix>main/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter>
    <Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition></Rule>
  <Rule><ID>old</ID><Status>Enabled</Status><Prefix>logs/</Prefix><Expiration><Days>3</Days></Expiration></Rule>
</LifecycleConfiguration>`

describe('readStoreFacts()', () => {
  let endpoint: S3Endpoint
  let storage: Storage

  before(async () => {
    endpoint = await S3Endpoint.start()
    endpoint.createBucket('bucket')
    storage = await openStorage({ url: 's3://bucket/main', endpoint: endpoint.url, maxAttempts: 1 })
  })
  beforeEach(() => {
    endpoint.clearFaults()
    endpoint.bucketSetup.clear()
  })
  after(async () => {
    storage.close()
    await endpoint.close()
  })
  const facts = async (): Promise<StoreFacts> => (await readStoreFacts(storage))!

  it('tells what a plain bucket has not', async () => {
    assert.deepEqual(await facts(), {
      ...{ bucket: 'bucket', prefix: 'main/', region: { value: 'us-east-1' }, accessKey: { value: 'test' } },
      ...{ versioning: { value: 'off' }, objectLock: { value: null }, encryption: { value: null } },
      lifecycle: { value: [] },
    })
  })

  it('tells versions, lock, encryption and the rules that are switched on', async () => {
    endpoint.bucketSetup.set('GetBucketVersioning', VERSIONING_ON)
    endpoint.bucketSetup.set('GetObjectLockConfiguration', LOCK)
    endpoint.bucketSetup.set('GetBucketEncryption', ENCRYPTION)
    endpoint.bucketSetup.set('GetBucketLifecycleConfiguration', LIFECYCLE)
    const { versioning, objectLock, encryption, lifecycle } = await facts()
    assert.deepEqual(
      [versioning, objectLock, encryption],
      [{ value: 'on' }, { value: 'GOVERNANCE, 30 days' }, { value: 'aws:kms' }],
    )
    assert.ok('value' in lifecycle)
    assert.deepEqual(lifecycle.value, [
      rule({ id: 'uploads', abortsUploads: true }),
      rule({ id: 'cold', prefix: 'main/', needsTags: true, transitions: ['GLACIER'] }),
      rule({ id: 'old', prefix: 'logs/', expires: true }),
    ])
  })

  for (const [what, status, code] of [
    ['does not know the question', 501, 'NotImplemented'],
    ['may not be asked', 403, 'AccessDenied'],
    ['has no such bucket', 404, 'NoSuchBucket'],
  ] as const) {
    it(`leaves unknown what a store ${what}, and no finding of that is a failure`, async () => {
      endpoint.fault({ match: () => true, action: { status, code } })
      const found = await facts()
      for (const name of ['versioning', 'objectLock', 'encryption', 'lifecycle'] as const) {
        const told = found[name]
        assert.ok('unknown' in told, name)
        assert.match(told.unknown, new RegExp(`HTTP ${status}, ${code}`))
      }
      assert.ok(bucketFindings(found).every(({ result }) => result === 'ok'))
    })
  }

  it('measures what it writes, reads and deletes, and leaves nothing', async () => {
    const speed = await measureStorage(storage)
    assert.ok(speed.latencyMs > 0 && speed.writeBytesPerSecond > 0 && speed.readBytesPerSecond > 0)
    assert.equal(speed.leftKey, undefined)
    assert.deepEqual(endpoint.keys('bucket'), [])
    endpoint.weaknesses.noDelete = true
    try {
      const { leftKey } = await measureStorage(storage)
      assert.deepEqual(endpoint.keys('bucket'), [`main/${leftKey ?? ''}`])
    } finally {
      endpoint.weaknesses.noDelete = false
    }
  })
})

describe('bucketFindings()', () => {
  const PLAIN: StoreFacts = {
    ...{ bucket: 'bucket', prefix: 'main/', region: { value: 'eu-central-1' }, accessKey: { value: 'AKIA12345678' } },
    ...{ versioning: { value: 'off' }, objectLock: { value: null }, encryption: { value: 'AES256' } },
    lifecycle: { value: [rule({ id: 'uploads', abortsUploads: true })] },
  }
  const uploads = rule({ id: 'uploads', abortsUploads: true })
  const withRules = (...rules: LifecycleRule[]): Partial<StoreFacts> => ({ lifecycle: { value: [uploads, ...rules] } })

  it('are all fine for a bucket with all that it should have, whose key is not told whole', () => {
    const findings = bucketFindings(PLAIN)
    assert.ok(findings.every(({ result }) => result === 'ok'))
    assert.match(findings[0]?.message ?? '', /bucket "bucket" in region eu-central-1, asked with access key …5678/)
  })

  const cases: [string, Partial<StoreFacts>, 'warning' | 'failure' | 'ok', RegExp, RegExp][] = [
    [
      'no encryption',
      { encryption: { value: null } },
      'warning',
      /not encrypted at rest/,
      /^aws s3api put-bucket-encryption --bucket bucket .*AES256/,
    ],
    [
      'no rule at all',
      { lifecycle: { value: [] } },
      'warning',
      /aborts unfinished uploads/,
      /"Prefix":"main\/"\},"AbortIncomplete/,
    ],
    [
      'a rule for uploads elsewhere',
      { lifecycle: { value: [{ ...uploads, prefix: 'logs/' }] } },
      'warning',
      /aborts unfinished/,
      /Add this/,
    ],
    [
      'a rule for uploads of a part',
      { lifecycle: { value: [{ ...uploads, prefix: 'main/a' }] } },
      'warning',
      /aborts unfinished/,
      /Add this/,
    ],
    [
      'versions for ever',
      { versioning: { value: 'on' } },
      'warning',
      /versioning is on, and no lifecycle rule/,
      /NoncurrentDays/,
    ],
    [
      'an expiry of everything',
      withRules(rule({ id: 'x', expires: true })),
      'failure',
      /"x" deletes objects/,
      /Take rule "x" away/,
    ],
    [
      'an expiry within',
      withRules(rule({ id: 'x', expires: true, prefix: 'main/pg18-1/wal/' })),
      'failure',
      /"x" deletes/,
      /Take/,
    ],
    [
      'an archive class',
      withRules(rule({ id: 'x', transitions: ['DEEP_ARCHIVE'] })),
      'failure',
      /"x" moves objects to DEEP_ARCHIVE/,
      /GLACIER_IR/,
    ],
    ['an expiry elsewhere', withRules(rule({ id: 'x', expires: true, prefix: 'mainly/' })), 'ok', /do no harm/, /^$/],
    [
      'an expiry of probes',
      withRules(rule({ id: 'x', expires: true, prefix: 'main/probe/' })),
      'ok',
      /do no harm/,
      /^$/,
    ],
    [
      'an expiry of tagged objects',
      withRules(rule({ id: 'x', expires: true, needsTags: true })),
      'ok',
      /do no harm/,
      /^$/,
    ],
    ['a class that can be read', withRules(rule({ id: 'x', transitions: ['GLACIER_IR'] })), 'ok', /do no harm/, /^$/],
    [
      'versions that end',
      { versioning: { value: 'on' }, ...withRules(rule({ id: 'v', expiresVersions: true })) },
      'ok',
      /for a while/,
      /^$/,
    ],
    [
      'an object lock',
      { objectLock: { value: 'COMPLIANCE, 30 days' } },
      'ok',
      /object lock is on \(COMPLIANCE, 30 days\)/,
      /^$/,
    ],
  ]
  for (const [name, change, result, says, hint] of cases) {
    it(`tell ${name}`, () => {
      const findings = bucketFindings({ ...PLAIN, ...change })
      const found = findings.find(({ message }) => says.test(message))
      assert.ok(found, findings.map(({ message }) => message).join('\n'))
      assert.equal(found.result, result)
      assert.match(found.hint ?? '', hint)
      const others = findings.filter((finding) => finding !== found && finding.result !== 'ok')
      assert.deepEqual(others, [])
    })
  }
})

function rule(facts: Partial<LifecycleRule> & { id: string }): LifecycleRule {
  return {
    ...{ prefix: '', needsTags: false, expires: false, transitions: [], expiresVersions: false, abortsUploads: false },
    ...facts,
  }
}
