import { openStorage } from '#src/storage/open-storage.js'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { S3Endpoint, useTestCredentials } from '../support/s3-endpoint.js'
import type { EndpointOptions } from '../support/s3-endpoint.js'
import { PART_SIZE_BYTES, storageContract } from './storage.js'
import type { OpenedStorage } from './storage.js'
import type { StoreAbilities } from '#src/storage/storage-options.js'

useTestCredentials()

function opener(
  options: EndpointOptions,
  abilities?: StoreAbilities,
  directory?: string,
): () => Promise<OpenedStorage> {
  return async () => {
    const path = directory === undefined ? undefined : await mkdtemp(join(tmpdir(), directory))
    const endpoint = await S3Endpoint.start({ ...options, ...(path === undefined ? {} : { directory: path }) })
    endpoint.createBucket('bucket')
    const storage = await openStorage({
      url: 's3://bucket/some/prefix',
      endpoint: endpoint.url,
      partSizeBytes: PART_SIZE_BYTES,
      abilities,
    })
    return {
      storage,
      countUnfinished: () => Promise.resolve(endpoint.openUploads().length),
      cleanup: async () => {
        await endpoint.close()
        if (path !== undefined) await rm(path, { recursive: true, force: true })
      },
    }
  }
}

storageContract('a storage in the in-process S3 endpoint', opener({}))

storageContract(
  'a storage in the in-process S3 endpoint with files and short pages',
  opener({ pageSize: 7 }, undefined, 'pgsluice-s3-'),
  {
    pageSize: 7,
  },
)

storageContract(
  'a storage in an S3 endpoint that can do the least',
  opener(
    {
      weaknesses: {
        ignoreIfNoneMatch: true,
        ignoreIfNoneMatchOnComplete: true,
        rejectChecksumHeaders: true,
        noDeleteObjects: true,
      },
    },
    { createOnlyPut: false, createOnlyMultipart: false, checksumHeaders: false },
  ),
  { isAtomic: false },
)
