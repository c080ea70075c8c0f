/** What the set-up of a bucket means for a repository in it. What its store does not tell is said, and is no fault. */
import type { LifecycleRule, StoreFacts, Told } from '../storage/store-facts.js'
import { add, type Finding } from './findings.js'

/** Storage classes whose objects cannot be read before they were brought back, which takes hours (S3's own words). */
const ARCHIVE_CLASSES = new Set(['GLACIER', 'DEEP_ARCHIVE'])

/** The findings about a bucket. */
export function bucketFindings(facts: StoreFacts): Finding[] {
  const findings: Finding[] = []
  const { bucket, prefix, region, accessKey } = facts
  const place = 'value' in region && region.value !== '' ? ` in region ${region.value}` : ''
  const key = 'value' in accessKey ? `, asked with access key …${accessKey.value.slice(-4)}` : ''
  add(findings, 'repository', 'ok', `bucket "${bucket}"${place}${key}`)
  const tell = <T>(what: string, told: Told<T>, about: (value: T) => void): void => {
    if ('value' in told) about(told.value)
    else add(findings, 'repository', 'ok', `${what}: unknown (${told.unknown})`)
  }
  const rules = 'value' in facts.lifecycle ? facts.lifecycle.value.filter((rule) => touches(rule, prefix)) : undefined
  tell('versioning', facts.versioning, (state) => versioningFinding(findings, facts, state, rules))
  tell('object lock', facts.objectLock, (lock) => {
    const text =
      lock === null ? 'object lock is off' : `object lock is on (${lock}): retention can delete what is older`
    add(findings, 'repository', 'ok', text)
  })
  tell('encryption at rest', facts.encryption, (algorithm) => {
    if (algorithm !== null) {
      add(findings, 'repository', 'ok', `objects are encrypted at rest (${algorithm})`)
      return
    }
    const rule = { Rules: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } }] }
    const remedy =
      `aws s3api put-bucket-encryption --bucket ${bucket} ` +
      `--server-side-encryption-configuration '${JSON.stringify(rule)}'`
    add(findings, 'repository', 'warning', 'objects are not encrypted at rest', remedy)
  })
  tell('lifecycle rules', facts.lifecycle, () => {
    lifecycleFindings(findings, facts, rules ?? [])
  })
  return findings
}

function versioningFinding(
  findings: Finding[],
  { prefix }: StoreFacts,
  state: 'on' | 'suspended' | 'off',
  rules: readonly LifecycleRule[] | undefined,
): void {
  if (state === 'off') {
    add(findings, 'repository', 'ok', 'versioning is off: what is deleted is gone')
    return
  }
  const isCleared = rules === undefined || rules.some((rule) => rule.expiresVersions && covers(rule, prefix))
  if (isCleared) {
    add(findings, 'repository', 'ok', `versioning is ${state}: what is deleted can be brought back for a while`)
    return
  }
  const rule = { NoncurrentVersionExpiration: { NoncurrentDays: 30 }, Expiration: { ExpiredObjectDeleteMarker: true } }
  add(
    findings,
    'repository',
    'warning',
    `versioning is ${state}, and no lifecycle rule removes old versions: what is deleted is billed for ever`,
    ruleHint('pgsluice-old-versions', prefix, rule),
  )
}

function lifecycleFindings(findings: Finding[], { prefix }: StoreFacts, rules: readonly LifecycleRule[]): void {
  const before = findings.length
  for (const { id, expires, transitions } of rules) {
    const archive = transitions.find((name) => ARCHIVE_CLASSES.has(name))
    if (expires) {
      const what = `lifecycle rule "${id}" deletes objects of the repository: backups that are listed will not be whole`
      add(findings, 'repository', 'failure', what, `Take rule "${id}" away: retention must not run behind pgsluice.`)
    }
    if (archive !== undefined) {
      const what = `lifecycle rule "${id}" moves objects to ${archive}: they cannot be read before they are brought back`
      const hint = `Take that transition out of rule "${id}", or use a class that can be read at once, such as GLACIER_IR.`
      add(findings, 'repository', 'failure', what, hint)
    }
  }
  if (!rules.some((rule) => rule.abortsUploads && covers(rule, prefix))) {
    add(
      findings,
      'repository',
      'warning',
      'no lifecycle rule aborts unfinished uploads: what a killed run leaves of one is billed for ever',
      ruleHint('pgsluice-unfinished-uploads', prefix, { AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 } }),
    )
  }
  if (findings.length === before)
    add(findings, 'repository', 'ok', 'lifecycle rules abort unfinished uploads, and do no harm')
}

/** Whether a rule is about an object of the repository that matters. */
function touches({ prefix: theirs, needsTags }: LifecycleRule, ours: string): boolean {
  if (needsTags || theirs.startsWith(`${ours}probe/`)) return false
  return theirs.startsWith(ours) || ours.startsWith(theirs)
}

/** Whether a rule is about every object of the repository. */
function covers({ prefix: theirs, needsTags }: LifecycleRule, ours: string): boolean {
  return !needsTags && ours.startsWith(theirs)
}

function ruleHint(id: string, prefix: string, rule: object): string {
  const text = JSON.stringify({ ID: id, Status: 'Enabled', Filter: { Prefix: prefix }, ...rule })
  return `Add this to the lifecycle rules of the bucket (put-bucket-lifecycle-configuration replaces all of them): ${text}`
}
