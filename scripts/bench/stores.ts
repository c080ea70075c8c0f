/** The buckets of the bench: versitygw, an endpoint that is there already, and the sink. */
import { spawn } from 'node:child_process'
import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs'
import { connect } from 'node:net'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { openStorage } from '#src/storage/open-storage.js'
import type { Storage } from '#src/storage/storage.js'
import { ROOT } from '../../test/support/oracles.js'
import { freePort } from '../../test/support/postgres.js'
import { runProgram } from '../../test/support/server-user.js'
import { waitUntil } from '../../test/support/wait.js'
import type { ChildProcess } from 'node:child_process'
import type { Scene, Site, Transport } from './tool.js'

/** A bucket behind one or two endpoints. */
export interface Store {
  description: string
  /** Where a tool of a transport has to go; undefined where there is no such way. */
  site(transport: Transport): Site | undefined
  /** The processes to be measured apart. */
  pids: readonly number[]
  close(): Promise<void>
}

/** A certificate of our own for the name `localhost`. */
export interface Certificate {
  certificate: string
  key: string
}

const BUCKET = 'bench'
export async function makeCertificate(directory: string): Promise<Certificate> {
  const certificate = path.join(directory, 'certificate.pem')
  const key = path.join(directory, 'key.pem')
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '7']
  const args = ['req', '-x509', ...kind, ...names, '-keyout', key, '-out', certificate]
  const { exitCode, stderr } = await runProgram('openssl', args)
  if (exitCode !== 0) throw new Error(`could not make a certificate: ${stderr}`)
  chmodSync(certificate, 0o644)
  return { certificate, key }
}

/** One versitygw over http and, with a certificate, a second one over https on the same directory. */
export async function startVersitygw(program: string, directory: string, tls: Certificate | undefined): Promise<Store> {
  const data = path.join(directory, 'store')
  mkdirSync(path.join(data, BUCKET), { recursive: true })
  const env = { ...process.env, ROOT_ACCESS_KEY: 'test', ROOT_SECRET_KEY: 'test-secret' }
  const servers: ChildProcess[] = []
  const start = async (args: readonly string[]): Promise<number> => {
    const port = await freePort()
    const log = openSync(path.join(directory, 'versitygw.log'), 'a')
    const all = [...args, '--quiet', '--keep-alive', '--port', `127.0.0.1:${port}`, 'posix', data]
    const server = spawn(program, all, { env, stdio: ['ignore', log, log] })
    closeSync(log)
    servers.push(server)
    await waitUntil('versitygw to listen', () => {
      if (server.exitCode !== null) throw new Error(`versitygw ended: see ${directory}/versitygw.log`)
      return isListening(port)
    })
    return port
  }
  const close = async (): Promise<void> => {
    for (const server of servers) await end(server)
  }
  try {
    const http = await start([])
    const https = tls === undefined ? undefined : await start(['--cert', tls.certificate, '--key', tls.key])
    const keys = { bucket: BUCKET, region: 'us-east-1', accessKeyId: 'test', secretAccessKey: 'test-secret' }
    return {
      description: 'versitygw, posix backend, keep-alive, on the same cores',
      site: (transport) => {
        if (transport === 'http') return { ...keys, endpoint: `http://127.0.0.1:${http}`, caFile: undefined }
        return https === undefined
          ? undefined
          : { ...keys, endpoint: `https://localhost:${https}`, caFile: tls?.certificate }
      },
      pids: servers.flatMap(({ pid }) => pid ?? []),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** An endpoint that somebody else runs, with the keys of the environment. */
export function namedStore(endpoint: string, bucket: string): Store {
  const site: Site = {
    endpoint: endpoint.replace(/\/+$/, ''),
    bucket,
    region: process.env['AWS_REGION'] ?? 'us-east-1',
    caFile: process.env['NODE_EXTRA_CA_CERTS'],
    accessKeyId: process.env['AWS_ACCESS_KEY_ID'] ?? '',
    secretAccessKey: process.env['AWS_SECRET_ACCESS_KEY'] ?? '',
  }
  const own: Transport = endpoint.startsWith('https:') ? 'https' : 'http'
  return {
    description: endpoint,
    // Whoever can speak http to a bucket can speak https.
    site: (transport) => (transport === own || own === 'https' ? site : undefined),
    pids: [],
    close: () => Promise.resolve(),
  }
}

/** Sinks that discard what is large: over http and, with a certificate, over https. */
export async function startSinks(tls: Certificate | undefined): Promise<Store> {
  const servers: ChildProcess[] = []
  const start = async (args: readonly string[]): Promise<string> => {
    const script = path.join(ROOT, 'scripts/bench/sink.py')
    const server = spawn('python3', [script, BUCKET, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
    servers.push(server)
    const [url] = (await once(createInterface(server.stdout), 'line')) as [string]
    return url
  }
  const keys = { bucket: BUCKET, region: 'us-east-1', accessKeyId: 'test', secretAccessKey: 'test-secret' }
  const http = await start([])
  const https = tls === undefined ? undefined : await start([tls.certificate, tls.key])
  return {
    description: 'the sink (scripts/bench/sink.py)',
    site: (transport) => {
      if (transport === 'http') return { ...keys, endpoint: http, caFile: undefined }
      return https === undefined ? undefined : { ...keys, endpoint: https, caFile: tls?.certificate }
    },
    pids: servers.flatMap(({ pid }) => pid ?? []),
    close: async () => {
      for (const server of servers) await end(server)
    },
  }
}

/** The bytes below the prefix of a scene. `site` is one that this process can reach. */
export async function storedBytes(site: Site, prefix: Scene['prefix']): Promise<number> {
  return onObjects(site, prefix, (objects) => Promise.resolve(objects.reduce((sum, { size }) => sum + size, 0)))
}

/** Deletes everything below the prefix of a scene. */
export async function clear(site: Site, prefix: Scene['prefix']): Promise<void> {
  await onObjects(site, prefix, async (objects, remove) => remove(objects.map(({ key }) => key)))
}

async function onObjects<T>(
  site: Site,
  prefix: string,
  use: (objects: readonly { key: string; size: number }[], remove: (keys: string[]) => Promise<void>) => Promise<T>,
): Promise<T> {
  return withStorage(site, prefix, async (storage) => {
    const objects: { key: string; size: number }[] = []
    for await (const { key, size } of storage.list('')) objects.push({ key, size })
    return use(objects, (keys) => storage.delete(keys))
  })
}

/** Opens a prefix of a bucket in this process, whose environment the SDK takes the keys from. */
export async function withStorage<T>(site: Site, prefix: string, use: (storage: Storage) => Promise<T>): Promise<T> {
  process.env['AWS_ACCESS_KEY_ID'] = site.accessKeyId
  process.env['AWS_SECRET_ACCESS_KEY'] = site.secretAccessKey
  const url = `s3://${site.bucket}/${prefix}`
  const storage = await openStorage({ url, endpoint: site.endpoint, region: site.region })
  try {
    return await use(storage)
  } finally {
    storage.close()
  }
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return
  const ended = once(server, 'exit')
  server.kill('SIGTERM')
  await ended
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
