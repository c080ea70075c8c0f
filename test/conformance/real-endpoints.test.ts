/** Runs the contract against every S3 server named in PGSLUICE_TEST_S3_ENDPOINTS, each in a bucket of its own. */
import { inspectStorage } from '#src/storage/inspect.js'
import { openStorage } from '#src/storage/open-storage.js'
import { abortStaleUploads, staleUploads } from '#src/storage/stale-uploads.js'
import { CreateBucketCommand, DeleteBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { PART_SIZE_BYTES, storageContract } from './storage.js'

const endpoints = (process.env['PGSLUICE_TEST_S3_ENDPOINTS'] ?? '').split(',').filter((endpoint) => endpoint !== '')

if (endpoints.length === 0) {
  test(
    'the storage contract holds on real S3 servers',
    {
      skip: 'no S3 endpoint is named in PGSLUICE_TEST_S3_ENDPOINTS',
    },
    () => undefined,
  )
}

for (const endpoint of endpoints) {
  // probed before the tests are declared: what the store cannot do decides what is expected of it (O6)
  const bucket = `pgsluice-test-${randomBytes(6).toString('hex')}`
  const client = new S3Client({ endpoint, forcePathStyle: true, region: 'us-east-1' })
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
  const options = { url: `s3://${bucket}/prefix`, endpoint, partSizeBytes: PART_SIZE_BYTES }
  const first = await openStorage(options)
  const { abilities, probes } = await inspectStorage(first)
  first.close()
  for (const { name, result, detail } of probes) {
    if (result !== 'yes') console.log(`# ${endpoint}: ${name}: ${result}: ${detail ?? ''}`)
  }
  storageContract(
    `a storage in the S3 server at ${endpoint}`,
    async () => {
      const storage = await openStorage({ ...options, abilities })
      const every = { initiatedBefore: new Date(8e15) }
      return {
        storage,
        countUnfinished: async () => {
          let count = 0
          for await (const { uploadId } of staleUploads(storage, every)) if (uploadId !== '') count += 1
          return count
        },
        cleanup: async () => {
          const last = await openStorage({ ...options, abilities })
          await abortStaleUploads(last, every)
          const keys: string[] = []
          for await (const { key } of last.list('')) keys.push(key)
          await last.delete(keys)
          last.close()
          await client.send(new DeleteBucketCommand({ Bucket: bucket }))
          client.destroy()
        },
      }
    },
    { isAtomic: abilities.createOnlyPut && abilities.createOnlyMultipart ? 'sequential' : false },
  )
}
