/**
 * The repository of the demo: below the one that PGSLUICE_REPOSITORY names, with the AWS environment as it is, or in an S3
 * endpoint of this process. Either way under a name that nothing else has, and emptied at the end.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { reasonOf } from '#src/errors.js'
import { openStorage } from '#src/storage/open-storage.js'
import { giveToServerUser } from '../../test/support/server-user.js'
import { S3Endpoint, useTestCredentials } from '../../test/support/s3-endpoint.js'

/** Where the demo keeps its backups. */
export interface DemoBucket {
  /** As `--repository` takes it. */
  url: string
  /** What the bucket is, for people. */
  description: string
  /** The environment that leads to it. */
  environment: NodeJS.ProcessEnv
  /** Parts of multipart uploads that arrived, where we can know. */
  partsReceived(): number | undefined
  /** Objects and their bytes. */
  contents(): Promise<{ objects: number; bytes: number }>
  /** Removes everything; resolves to what could not be done. */
  remove(): Promise<string | undefined>
}

/** Opens it. `directory` is where an endpoint of our own keeps its bodies. */
export async function openBucket(directory: string): Promise<DemoBucket> {
  const name = `demo-${randomBytes(4).toString('hex')}`
  const named = process.env['PGSLUICE_REPOSITORY']
  if (named !== undefined && named !== '') {
    const url = `${named.replace(/\/+$/, '')}/${name}`
    const environment = Object.fromEntries(
      Object.entries(process.env).filter(([key]) => /^PGSLUICE_(ENDPOINT|REGION|PROFILE|PATH_STYLE)$/.test(key)),
    )
    const bucket = { ...reach(url), url, description: 'what PGSLUICE_REPOSITORY names', environment }
    return url.startsWith('file:') ? inDirectory(bucket, fileURLToPath(url)) : bucket
  }
  useTestCredentials()
  const endpoint = await S3Endpoint.start({ directory: path.join(directory, 'bucket') })
  endpoint.createBucket('backups')
  process.env['AWS_ENDPOINT_URL_S3'] = endpoint.url
  process.env['AWS_REGION'] = 'us-east-1'
  const url = `s3://backups/${name}`
  return {
    ...reach(url),
    url,
    description: `an S3 endpoint of this process at ${endpoint.url}`,
    environment: {},
    partsReceived: () => endpoint.count('UploadPart'),
    remove: async () => {
      await endpoint.close()
      return undefined
    },
  }
}

/** A directory has to exist before it can be a repository, and to be writable for the server. */
async function inDirectory(bucket: DemoBucket, directory: string): Promise<DemoBucket> {
  mkdirSync(directory)
  await giveToServerUser(directory)
  const remove = (): Promise<undefined> => {
    rmSync(directory, { recursive: true, force: true })
    return Promise.resolve(undefined)
  }
  return { ...bucket, remove }
}

function reach(url: string): Pick<DemoBucket, 'contents' | 'remove' | 'partsReceived'> {
  const open = (): ReturnType<typeof openStorage> =>
    openStorage({
      url,
      endpoint: process.env['PGSLUICE_ENDPOINT'],
      region: process.env['PGSLUICE_REGION'],
      profile: process.env['PGSLUICE_PROFILE'],
      pathStyle: { true: true, false: false }[process.env['PGSLUICE_PATH_STYLE'] ?? ''],
    })
  return {
    partsReceived: () => undefined,
    contents: async () => {
      const storage = await open()
      try {
        const sum = { objects: 0, bytes: 0 }
        for await (const { size } of storage.list('')) {
          sum.objects += 1
          sum.bytes += size
        }
        return sum
      } finally {
        storage.close()
      }
    },
    remove: async () => {
      const storage = await open()
      try {
        const keys: string[] = []
        for await (const { key } of storage.list('')) keys.push(key)
        await storage.delete(keys)
        return undefined
      } catch (error) {
        return `the objects below ${url} stay: ${reasonOf(error)}`
      } finally {
        storage.close()
      }
    },
  }
}
