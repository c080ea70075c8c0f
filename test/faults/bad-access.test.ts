/** Servers and buckets that cannot be reached, or do not let us in: which one, why, and what to look at; nothing changed. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { Scene } from '../support/backup-scene.js'
import { runCommand, whyNoCommandLine } from '../support/command-line.js'
import { query } from '../support/postgres.js'
import { S3Endpoint } from '../support/s3-endpoint.js'
import { waitUntil } from '../support/wait.js'

const FLAGS = ['--max-attempts', '2', '--request-timeout', '2s']
const obstacle = await whyNoCommandLine()

describe('a bucket that does not let us in', { skip: obstacle ?? false }, () => {
  let endpoint: S3Endpoint
  before(async () => {
    endpoint = await S3Endpoint.start({ accessKeyId: 'known' })
    endpoint.createBucket('backups')
  })
  after(() => endpoint.close())
  afterEach(() => endpoint.clearFaults())

  interface Row {
    name: string
    env?: NodeJS.ProcessEnv
    answer?: { status: number; code: string }
    flags?: string[]
    args?: string[]
    exitCode?: number
    says: RegExp[]
  }
  const rows: Row[] = [
    {
      name: 'no credentials',
      env: { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined },
      exitCode: 2,
      says: [/no credentials were found/, /HINT: Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY/],
    },
    {
      name: 'an access key that the store does not know',
      env: { AWS_ACCESS_KEY_ID: 'stranger' },
      says: [/HTTP 403, InvalidAccessKeyId/, /HINT: The store does not know this access key/],
    },
    {
      name: 'a profile that does not exist',
      env: { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined },
      args: ['--profile', 'nobody'],
      exitCode: 2,
      says: [/nobody|credentials/],
    },
    {
      name: 'a session that has expired',
      answer: { status: 400, code: 'ExpiredToken' },
      says: [/ExpiredToken/, /HINT: The session token has expired/],
    },
    {
      name: 'a clock that is wrong (O9)',
      answer: { status: 403, code: 'RequestTimeTooSkewed' },
      says: [/RequestTimeTooSkewed/, /HINT: The clock of this host and that of the store differ/],
    },
    {
      name: 'a wrong secret',
      answer: { status: 403, code: 'SignatureDoesNotMatch' },
      says: [/SignatureDoesNotMatch/, /HINT: Check the secret access key/],
    },
    {
      name: 'a bucket that does not exist',
      args: ['--repository', 's3://other/x'],
      says: [/bucket "other".*NoSuchBucket/, /HINT: Create the bucket, or check its name/],
    },
    {
      name: 'an endpoint at which nobody listens',
      args: ['--endpoint', 'http://127.0.0.1:1'],
      says: [/ECONNREFUSED/, /HINT: Nothing listens at the endpoint/],
    },
    {
      name: 'an endpoint whose name does not exist',
      // a resolver takes its time to say that there is none
      flags: ['--max-attempts', '2', '--request-timeout', '30s'],
      args: ['--endpoint', 'http://no-such-host.invalid'],
      says: [/ENOTFOUND|EAI_AGAIN/, /HINT: The name of the endpoint cannot be resolved/],
    },
    {
      name: 'no region, where the endpoint is that of AWS',
      env: { AWS_ENDPOINT_URL_S3: undefined, AWS_REGION: undefined },
      exitCode: 2,
      says: [/no AWS region is set/, /HINT: Set the region, AWS_REGION/],
    },
  ]
  for (const { name, env = {}, answer, flags = FLAGS, args = [], exitCode = 3, says } of rows) {
    test(`list ends with ${exitCode} on ${name}, and says what to look at`, async () => {
      if (answer) endpoint.fault({ match: () => true, action: answer })
      const result = await runCommand(['list', ...flags, ...args], {
        env: {
          AWS_ACCESS_KEY_ID: 'known',
          AWS_SECRET_ACCESS_KEY: 's3cr3t',
          AWS_CONFIG_FILE: '/dev/null',
          AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
          AWS_EC2_METADATA_DISABLED: 'true',
          AWS_REGION: 'us-east-1',
          AWS_ENDPOINT_URL_S3: endpoint.url,
          PGSLUICE_CONFIG: '/dev/null',
          PGSLUICE_REPOSITORY: 's3://backups/main',
          ...env,
        },
      })
      assert.equal(result.exitCode, exitCode, result.stderr)
      for (const text of says) assert.match(result.stderr, text)
      assert.doesNotMatch(result.stderr, /unexpected error|^\s+at |s3cr3t/m)
      assert.deepEqual(endpoint.keys('backups'), [])
    })
  }
})

describe('a server that does not let us in', { skip: obstacle ?? false }, () => {
  let scene: Scene
  before(async () => {
    scene = await Scene.open({ tcp: true })
    await query(scene.cluster, `create role keeper login superuser password 'right'`)
    const hba = 'local all all trust\nhost all keeper 127.0.0.1/32 scram-sha-256\n'
    writeFileSync(path.join(scene.cluster.pgdata, 'pg_hba.conf'), hba)
    await query(scene.cluster, 'select pg_reload_conf()')
    await waitUntil('the new pg_hba.conf', async () => {
      const rows = await query(scene.cluster, `select from pg_hba_file_rules where 'keeper' = any (user_name)`)
      return rows.length === 1
    })
  })
  after(() => scene.close())

  const rows: { name: string; env: NodeJS.ProcessEnv; args?: string[]; exitCode?: number; says: RegExp[] }[] = [
    {
      name: 'a socket that is not there',
      env: { PGHOST: '/no/such/directory' },
      says: [
        /could not connect to PostgreSQL \(.*\/no\/such\/directory.*ENOENT/,
        /HINT: No server has its socket there/,
      ],
    },
    {
      name: 'a port at which nobody listens',
      env: { PGHOST: '127.0.0.1', PGPORT: '1' },
      says: [/could not connect to PostgreSQL \(.*127\.0\.0\.1.*ECONNREFUSED/, /HINT: No server listens there/],
    },
    {
      name: 'a wrong password',
      env: { PGHOST: '127.0.0.1', PGUSER: 'keeper', PGPASSWORD: 'wr0ng' },
      says: [/password authentication failed for user "keeper"/, /HINT: The password is wrong or missing/],
    },
    {
      name: 'no password',
      env: { PGHOST: '127.0.0.1', PGUSER: 'keeper' },
      says: [/could not connect to PostgreSQL \(.*keeper/, /password/],
    },
    {
      name: 'a user who may not come from here',
      env: { PGHOST: '127.0.0.1', PGUSER: 'postgres' },
      says: [/no pg_hba\.conf entry/, /HINT: The server does not let this user in from here/],
    },
    {
      name: 'a database that does not exist',
      env: { PGDATABASE: 'nowhere' },
      says: [/database "nowhere" does not exist/, /HINT: Name a database that exists/],
    },
    {
      name: 'a connection string that is none',
      env: {},
      args: ['--dbname', 'host=127.0.0.1 prot=5432'],
      exitCode: 2,
      says: [/prot/],
    },
  ]
  for (const { name, env, args = [], exitCode = 3, says } of rows) {
    test(`backup ends with ${exitCode} on ${name}, and says what to look at`, async () => {
      const before = scene.keys(/./)
      const result = await scene.run(['backup', ...args], { env })
      assert.equal(result.exitCode, exitCode, result.stderr)
      for (const text of says) assert.match(result.stderr, text)
      assert.doesNotMatch(result.stderr, /unexpected error|^\s+at |wr0ng/m)
      assert.deepEqual(scene.keys(/./), before)
    })
  }

  test('backup with the right password succeeds: it was the password', async () => {
    const env = { PGHOST: '127.0.0.1', PGUSER: 'keeper', PGPASSWORD: 'right' }
    const { exitCode, stderr } = await scene.run(['backup', '--quiet'], { env })
    assert.equal(exitCode, 0, stderr)
  })
})
