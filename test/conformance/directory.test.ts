import { openStorage } from '#src/storage/open-storage.js'
import { staleUploads } from '#src/storage/stale-uploads.js'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { storageContract } from './storage.js'

storageContract('a storage in a directory', async () => {
  const path = await mkdtemp(join(tmpdir(), 'pgsluice-test-'))
  const storage = await openStorage({ url: pathToFileURL(path).href })
  return {
    storage,
    countUnfinished: async () => {
      let count = 0
      for await (const upload of staleUploads(storage, { initiatedBefore: new Date(8e15) })) if (upload.key) count += 1
      const hidden = (await readdir(path, { recursive: true })).filter((name) => name.endsWith('.tmp'))
      return Math.max(count, hidden.length)
    },
    cleanup: () => rm(path, { recursive: true, force: true }),
  }
})
