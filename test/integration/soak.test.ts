/** A short run of scripts/soak.ts: kill -9 of push, fetch and the server at random moments. */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { availableMajors } from '../support/postgres-binaries.js'
import { soak } from '../support/soak.js'

test('kill -9 of push, fetch and PostgreSQL loses nothing, and leaves every file once in the archive (A1, A8, A10, G7)', async (t) => {
  const seed = randomInt(2 ** 31)
  t.diagnostic(`seed ${seed}`)
  const { kills, files, commits } = await soak({ major: availableMajors().at(-1)!, seconds: 60, seed })
  t.diagnostic(`${files} files, ${commits} commits, killed: ${JSON.stringify(kills)}`)
  assert.ok(files > 20)
  assert.ok(kills.push + kills.front > 0)
  assert.ok(kills.fetch > 0)
  assert.ok(kills['fetch-ahead'] > 0)
  assert.ok(kills.server > 0)
})
