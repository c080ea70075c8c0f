import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ToolError } from '#src/errors.js'
import { parseConninfo } from '#src/postgres/session/conninfo.js'
import { findPassword } from '#src/postgres/session/password-file.js'
import { describeAddress, parseServiceFile, resolveAddress } from '#src/postgres/session/server-address.js'

describe('parseConninfo()', () => {
  const table: [string, Record<string, string>][] = [
    ['', {}],
    ['orders', { dbname: 'orders' }],
    ['host=a port=5433 dbname=b', { host: 'a', port: '5433', dbname: 'b' }],
    [
      `  host = a   password='it\\'s = \\\\ secret' user=b\\ c `,
      { host: 'a', password: `it's = \\ secret`, user: 'b c' },
    ],
    [`password=''  host=/run/x`, { password: '', host: '/run/x' }],
    ['postgresql://', {}],
    [
      'postgres://u:p%40:x@h:5433/d%20b?sslmode=require',
      { user: 'u', password: 'p@:x', host: 'h', port: '5433', dbname: 'd b', sslmode: 'require' },
    ],
    ['postgresql:///d?host=/run/pg&port=6000', { dbname: 'd', host: '/run/pg', port: '6000' }],
    ['postgresql://%2Frun%2Fpg/d', { host: '/run/pg', dbname: 'd' }],
    ['postgresql://[::1]:5433/d?ssl=true', { host: '::1', port: '5433', dbname: 'd', sslmode: 'require' }],
  ]
  for (const [text, expected] of table) {
    it(`reads "${text}"`, () => assert.deepEqual(parseConninfo(text), expected))
  }

  for (const text of [
    'host=a sslmod=verify-full password=geheim',
    `host='a password=geheim`,
    'postgresql://u:geheim@a,b/d',
    'postgresql://u:geheim@a/d?sslmod=x',
    'postgresql://u:geheim%zz@a/d',
    `password=geheim host`,
  ]) {
    it(`refuses "${text}" without showing the password`, () => {
      assert.throws(
        () => parseConninfo(text),
        (error) => error instanceof ToolError && error.code === 'configuration' && !error.message.includes('geheim'),
      )
    })
  }
})

describe('resolveAddress()', () => {
  it('takes the connection string before the service, the service before the environment, and then defaults', () => {
    const environment = { PGHOST: 'from-env', PGPORT: '1111', PGUSER: 'env', PGPASSWORD: 'secret', PGSERVICE: 's' }
    const service = (name: string) => {
      assert.equal(name, 's')
      return { port: '2222', user: 'service', dbname: 'service' }
    }
    const address = resolveAddress('user=given', environment, service)
    assert.deepEqual(
      [address.host, address.port, address.user, address.database, address.password, address.sslmode],
      ['from-env', 2222, 'given', 'service', 'secret', 'prefer'],
    )
    assert.doesNotMatch(describeAddress(address), /secret/)
  })

  it('takes the user for the database where none is named, and an empty variable for none', () => {
    const address = resolveAddress(undefined, {
      PGUSER: 'somebody',
      PGDATABASE: '',
      PGHOST: 'h',
      PGCONNECT_TIMEOUT: '7',
    })
    assert.deepEqual([address.database, address.port, address.connectTimeoutMs], ['somebody', 5432, 7000])
  })

  for (const text of ['port=0', 'port=65536', 'port=x', 'host=a,b', 'sslmode=maybe', 'connect_timeout=-1']) {
    it(`refuses ${text}`, () => {
      assert.throws(
        () => resolveAddress(text, {}),
        (error) => error instanceof ToolError && error.code === 'configuration',
      )
    })
  }
})

describe('parseServiceFile()', () => {
  const text = '# comment\n[other]\nhost=no\n\n[mine]\nhost = a\n  port=1\nport=2\npassword=a=b\n[mine]\nhost=late\n'
  it('returns the first section of that name, with the first of each keyword', () => {
    assert.deepEqual(parseServiceFile(text, 'mine', 'f'), { host: 'a', port: '1', password: 'a=b' })
  })
  it('returns nothing for a service that is not there', () => {
    assert.equal(parseServiceFile(text, 'absent', 'f'), undefined)
  })
  it('refuses a keyword that libpq does not know', () => {
    assert.throws(() => parseServiceFile('[x]\nhots=a', 'x', 'f'), /unknown keyword "hots" in service "x" of "f"/)
  })
})

describe('findPassword()', () => {
  const address = { ...resolveAddress('host=h port=1 user=u dbname=d', {}) }
  const socket = { ...address, host: '/tmp' }
  it('takes the first line that matches, with its escapes', () => {
    const text = '# h:1:d:u:comment\nx:1:d:u:no\nh:2:d:u:no\nnonsense\n*:1:d:*:a\\:b\\\\:rest\nh:1:d:u:late\n'
    assert.equal(findPassword(text, address), 'a:b\\')
  })
  it('knows a default socket directory as localhost', () => {
    assert.equal(findPassword('localhost:*:*:*:p', socket), 'p')
    assert.equal(findPassword('/tmp:*:*:*:q', socket), 'q')
    assert.equal(findPassword('localhost:*:*:*:p', address), undefined)
  })
})
