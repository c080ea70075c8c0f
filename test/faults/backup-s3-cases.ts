/** What an S3 endpoint does wrong to `pgsluice backup`, and what must come of it (backup-s3.test.ts runs them). */
import assert from 'node:assert/strict'
import type { Scene } from '../support/backup-scene.js'
import type { RunningCommand } from '../support/command-line.js'
import type { EndpointRequest, FaultRule } from '../support/s3-endpoint.js'

const MIB = 1024 * 1024
const UNAVAILABLE = { status: 503, code: 'ServiceUnavailable' }
const DENIED = { status: 403, code: 'AccessDenied' }

/** Matches requests of an operation whose key is like that. Never the WAL, which the server pushes meanwhile. */
function on(operation: string, key = /\/base\//, part = 0): FaultRule['match'] {
  return (request: EndpointRequest) =>
    request.operation === operation &&
    key.test(request.key) &&
    !request.key.includes('/wal/') &&
    Number(request.query.get('partNumber') ?? 0) >= part
}

const RECORD = /\/backups\//
const HEARTBEAT = /\/running\//
const PROFILE = /\/profile\//
const MANIFEST = /backup_manifest$/

/** One row. */
export interface Case {
  name: string
  faults?: FaultRule[]
  /** Done before the backup starts. */
  sabotage?: (scene: Scene) => void | Promise<void>
  /** Done while it runs. */
  meanwhile?: (scene: Scene, command: RunningCommand) => Promise<void>
  /** Default 0: it survives. */
  exitCode?: number
  flags?: string[]
  /** What stderr must say, each. */
  says?: RegExp[]
  /** Uploads that cannot but stay. */
  uploadsLeft?: number
  afterwards?: (scene: Scene) => void | Promise<void>
}

export const cases: Case[] = [
  {
    name: 'survives a storm of 503 that ends (O4)',
    faults: [
      { match: on('CreateMultipartUpload'), times: 2, action: UNAVAILABLE },
      { match: on('UploadPart'), times: 3, action: { status: 503, code: 'SlowDown' } },
      { match: on('CompleteMultipartUpload'), times: 2, action: UNAVAILABLE },
      { match: on('PutObject'), times: 2, action: UNAVAILABLE },
      { match: on('PutObject', RECORD), times: 2, action: UNAVAILABLE },
    ],
  },
  {
    name: 'gives up on a 503 of parts that lasts (O5)',
    faults: [{ match: on('UploadPart'), action: UNAVAILABLE }],
    exitCode: 3,
    says: [/could not write part \d+ of "[^"]+\.tar\.zst" in bucket "backups".*HTTP 503, ServiceUnavailable/],
  },
  {
    name: 'gives up on a 503 of the record that lasts (E9)',
    faults: [{ match: on('PutObject', RECORD), action: UNAVAILABLE }],
    exitCode: 3,
    says: [/could not write "[^"]+\/backups\/[^"]+\.json" in bucket "backups".*HTTP 503/],
  },
  {
    name: 'gives up on a 403 in the middle, with a hint at the policy (E11)',
    faults: [{ match: on('UploadPart', undefined, 3), action: DENIED }],
    exitCode: 3,
    says: [/could not write part \d of "[^"]+".*HTTP 403, AccessDenied/, /HINT: Check that the policy/],
  },
  {
    name: 'gives up on a 403 of the manifest, after the archives were stored (E9)',
    faults: [{ match: on('PutObject', MANIFEST), action: DENIED }],
    exitCode: 3,
    says: [/could not write "[^"]+backup_manifest".*HTTP 403/],
  },
  {
    name: 'survives resets of the connections of parts, before and in the middle of their bodies (O4)',
    faults: [
      { match: on('UploadPart'), times: 2, action: 'reset' },
      { match: on('UploadPart'), times: 2, action: { cutBodyAfter: MIB } },
    ],
  },
  {
    name: 'survives a part that stalls, and one that stalls in mid-body (O4)',
    faults: [
      { match: on('UploadPart'), times: 1, action: 'stall' },
      { match: on('UploadPart'), times: 1, action: { stallBodyAfter: MIB } },
    ],
  },
  {
    name: 'gives up on parts that stall for ever (O4)',
    faults: [{ match: on('UploadPart'), action: 'stall' }],
    flags: ['--max-attempts', '2', '--request-timeout', '3s', '--archive-timeout', '60s', '--jobs', '2'],
    exitCode: 3,
    says: [/could not write part \d of "[^"]+".*no answer within the request timeout/],
  },
  {
    name: 'takes an error in a 200 answer to complete for an error (O1)',
    faults: [{ match: on('CompleteMultipartUpload'), action: 'error-in-200' }],
    exitCode: 3,
    says: [/could not complete "[^"]+\.tar\.zst".*InternalError/],
  },
  {
    name: 'notices an archive that is shorter in the store than what was sent (O1)',
    faults: [{ match: on('CompleteMultipartUpload'), action: 'drop-last-part' }],
    exitCode: 3,
    says: [/could not complete "[^"]+": \d+ bytes were stored, but it has \d+ bytes/],
  },
  {
    name: 'knows its own archive again when the answer to complete was lost (A3: NoSuchUpload, equal content)',
    faults: [{ match: on('CompleteMultipartUpload'), times: 1, action: 'lose-answer' }],
  },
  {
    name: 'gives up when its upload is gone and no object came of it (A3)',
    faults: [{ match: on('CompleteMultipartUpload'), action: { status: 404, code: 'NoSuchUpload' } }],
    exitCode: 3,
    says: [/could not complete "[^"]+\.tar\.zst".*NoSuchUpload/],
  },
  {
    name: 'knows its own record again when the answer was lost (A3: 412, equal content)',
    faults: [{ match: on('PutObject', RECORD), times: 1, action: 'lose-answer' }],
  },
  {
    name: 'finds out that the store ignores If-None-Match, and goes on (O6)',
    sabotage: ({ endpoint: { weaknesses } }) => {
      Object.assign(weaknesses, { ignoreIfNoneMatch: true, ignoreIfNoneMatchOnComplete: true })
    },
    afterwards: async (scene) => {
      assert.deepEqual(await abilities(scene), {
        createOnlyPut: false,
        createOnlyMultipart: false,
        checksumHeaders: true,
      })
    },
  },
  {
    name: 'finds out that the store refuses checksum headers, and goes without (O6)',
    sabotage: ({ endpoint: { weaknesses } }) => {
      weaknesses.rejectChecksumHeaders = true
    },
    afterwards: async (scene) => {
      assert.deepEqual(await abilities(scene), {
        createOnlyPut: true,
        createOnlyMultipart: true,
        checksumHeaders: false,
      })
      const sent = scene.endpoint.requests.filter(
        ({ operation, key }) => operation === 'UploadPart' && /base/.test(key),
      )
      assert.ok(sent.length > 0)
      for (const { headers } of sent) assert.equal(headers['x-amz-checksum-crc32'], undefined)
    },
  },
  {
    name: 'refuses when another object lies under the key of its record, and leaves that as it is (A2, E9)',
    meanwhile: async (scene, command) => {
      const { id, cluster } = await command.waitForEvent('backup-started')
      await scene.put(`${cluster}/backups/${id}.json`, 'somebody else')
    },
    exitCode: 4,
    says: [/"[^"]+\/backups\/[^"]+\.json" exists already with other content/],
    afterwards: async (scene) => {
      const [key = ''] = scene.records()
      assert.equal((await scene.get(key))?.toString(), 'somebody else')
    },
  },
  {
    name: 'refuses when another object lies under the key of an archive (A2)',
    faults: [{ match: on('CreateMultipartUpload'), times: 2, action: UNAVAILABLE }],
    meanwhile: async (scene, command) => {
      const { id, cluster } = await command.waitForEvent('backup-started')
      await scene.put(`${cluster}/base/${id}/00000.tar.zst`, 'somebody else')
    },
    exitCode: 4,
    says: [/"[^"]+\/00000\.tar\.zst" exists already/],
  },
  {
    name: 'gives up when the bucket vanishes (O10)',
    // with two threads the other one may be the first to notice, in what it does then
    flags: ['--request-timeout', '2s', '--max-attempts', '4', '--archive-timeout', '60s', '--jobs', '1'],
    sabotage: ({ endpoint }) => {
      let vanished = false
      endpoint.fault({
        match: (request) => {
          vanished ||= on('UploadPart', undefined, 3)(request)
          return vanished && !request.key.includes('/wal/')
        },
        action: { status: 404, code: 'NoSuchBucket' },
      })
    },
    exitCode: 3,
    says: [/could not write part \d of "[^"]+".*NoSuchBucket/, /HINT: Create the bucket, or check its name/],
    // a bucket that is gone has none; this endpoint only says so
    uploadsLeft: 1,
  },
  {
    name: 'names the part that failed before the abort that failed too, and the upload that stays (O5)',
    faults: [
      { match: on('UploadPart'), action: DENIED },
      { match: on('AbortMultipartUpload'), action: { status: 500, code: 'InternalError' } },
    ],
    exitCode: 3,
    says: [/^pgsluice: could not write part \d of .*AccessDenied.*its parts stay in the bucket, since upload \S+ of/m],
    uploadsLeft: 1,
  },
  {
    name: 'gives up when its first heartbeat cannot be written (S12)',
    faults: [{ match: on('PutObject', HEARTBEAT), action: DENIED }],
    exitCode: 3,
    says: [/could not write "[^"]+\/running\/[^"]+" in bucket "backups".*AccessDenied/],
  },
  {
    name: 'is committed although its last heartbeat cannot be written, and warns (S12)',
    meanwhile: async (scene, command) => {
      await command.waitForEvent('backup-stopped')
      scene.endpoint.fault({ match: on('PutObject', HEARTBEAT), action: DENIED })
    },
  },
  {
    name: 'gives up before it starts anything when the store cannot be written to',
    faults: [
      { match: on('PutObject', PROFILE), action: DENIED },
      { match: on('PutObject', /probe/), action: DENIED },
    ],
    exitCode: 3,
    says: [/could not write/, /AccessDenied/],
    afterwards: (scene) => {
      assert.deepEqual(scene.keys(/\/(base|running)\//), [])
    },
  },
]

async function abilities(scene: Scene): Promise<unknown> {
  const [key = ''] = scene.keys(/^profile\//).slice(-1)
  return (JSON.parse((await scene.get(key))?.toString() ?? '{}') as { abilities?: unknown }).abilities
}
