/** `pin` and `unpin`: what is said last counts, on whichever host, and what is so already is not said again. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { pin, unpin, type PinAnswer } from '#src/commands/pin.js'
import { makeSettings, type Settings } from '#src/config/settings.js'
import { ToolError } from '#src/errors.js'
import { silent } from '#src/report.js'
import { pinKey } from '#src/repository/layout.js'
import { readPins, writePin } from '#src/repository/pins.js'
import { openStorage } from '#src/storage/open-storage.js'
import type { Storage } from '#src/storage/storage.js'
import { commitRecord } from '../../support/known-repository.js'
import { assertValid } from '../../support/schemas.js'

const ID = '20260101T000000Z-00000001'
const OTHER = '20260102T000000Z-00000002'
const home = mkdtempSync(path.join(tmpdir(), 'pgsluice-pin-'))
const context = { report: silent, signal: new AbortController().signal }
let storage: Storage
let settings: Settings
let cluster: string

before(async () => {
  const url = pathToFileURL(home).href
  storage = await openStorage({ url })
  settings = makeSettings({ repository: url })
  cluster = (await commitRecord(storage, { id: ID, label: 'nightly' })).cluster
  await commitRecord(storage, { id: OTHER, label: 'weekly' })
})
beforeEach(() => rmSync(path.join(home, cluster, 'pins'), { recursive: true, force: true }))
after(() => {
  storage.close()
  rmSync(home, { recursive: true })
})

const documents = (): string[] => readdirSync(path.join(home, cluster, 'pins', ID)).sort()
const pinnedIds = async (now = new Date()): Promise<string[]> => [...(await readPins(storage, cluster, now)).keys()]
const refused = (code: string, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ToolError && error.code === code, String(error))
  assert.match(error.message, text)
  return true
}

test('pin() keeps a backup until it is unpinned, and both say what is so already without writing it', async () => {
  const seen: PinAnswer[] = []
  for (const action of [
    () => pin(settings, 'nightly', {}, context),
    () => pin(settings, ID, {}, context),
    () => unpin(settings, '20260101', context),
    () => unpin(settings, ID, context),
  ]) {
    seen.push(await action())
    assert.equal((await pinnedIds()).includes(ID), seen.at(-1)?.pinned)
  }
  assert.deepEqual(
    seen.map(({ id, pinned, changed }) => `${id} ${pinned} ${changed}`),
    [`${ID} true true`, `${ID} true false`, `${ID} false true`, `${ID} false false`],
  )
  for (const answer of seen) assertValid('pin-result', answer)
  assert.equal(documents().length, 2)
  for (const name of documents()) {
    assertValid('pin', JSON.parse(readFileSync(path.join(home, cluster, 'pins', ID, name), 'utf8')))
  }
})

test('pin() until an instant holds until then and not at it; another end is a change', async () => {
  const { until } = await pin(settings, ID, { until: '2999-01-01 00:00:00+01' }, context)
  assert.equal(until, '2998-12-31T23:00:00.000Z')
  assert.deepEqual(await pinnedIds(new Date('2998-12-31T22:59:59.999Z')), [ID])
  assert.deepEqual(await pinnedIds(new Date('2998-12-31T23:00:00.000Z')), [])
  assert.equal((await pin(settings, ID, { until: '2998-12-31 23:00Z' }, context)).changed, false)
  assert.equal((await pin(settings, ID, {}, context)).changed, true)
  assert.deepEqual(await pinnedIds(new Date('2999-12-31T00:00:00Z')), [ID])
})

test('what a host says whose clock is behind counts nevertheless, and so does what follows a damaged pin', async () => {
  const future = '2990-01-01T00:00:00.000Z'
  await writePin(storage, cluster, { id: ID, pinned: true, until: null, time: future })
  assert.equal((await unpin(settings, ID, context)).changed, true)
  assert.deepEqual(await pinnedIds(), [])
  const damaged = pinKey(cluster, ID, new Date('2991-01-01T00:00:00.000Z'))
  writeFileSync(path.join(home, damaged), '{}')
  await assert.rejects(readPins(storage, cluster, new Date()), refused('damaged', /does not end with its checksum/))
  assert.equal((await pin(settings, ID, {}, context)).changed, true)
  assert.deepEqual(await pinnedIds(), [ID])
})

test('a pin whose end has passed is none: unpin() has nothing to do, and pin() pins anew', async () => {
  await writePin(storage, cluster, {
    id: ID,
    pinned: true,
    until: '2026-01-02T00:00:00.000Z',
    time: '2026-01-01T12:00:00.000Z',
  })
  assert.equal((await unpin(settings, ID, context)).changed, false)
  assert.equal((await pin(settings, ID, {}, context)).changed, true)
  assert.deepEqual(await pinnedIds(), [ID])
})

for (const [until, says] of [
  ['2026-01-01 00:00Z', /wrong value "2026-01-01 00:00Z" for --until: that instant has passed/],
  ['2999-01-01 00:00', /wrong value "2999-01-01 00:00" for --until: it has no offset/],
  ['tomorrow', /wrong value "tomorrow" for --until: expected a date, a time and its offset/],
  ['2999-02-30 00:00Z', /wrong value "2999-02-30 00:00Z" for --until: there is no such instant/],
] as const) {
  test(`pin() refuses --until ${JSON.stringify(until)}, and pins nothing`, async () => {
    await assert.rejects(pin(settings, ID, { until }, context), refused('usage', says))
    assert.deepEqual(await pinnedIds(), [])
  })
}

test('pin() and unpin() of a backup that does not exist name those that do', async () => {
  // one after the other: of two at a time the second may fail before anybody waits for it
  for (const attempt of [() => pin(settings, 'monthly', {}, context), () => unpin(settings, 'monthly', context)]) {
    await assert.rejects(attempt, (error) => {
      assert.ok(error instanceof ToolError)
      assert.match(`${error.message} ${error.hint ?? ''}`, new RegExp(`label "monthly" .*${ID}, ${OTHER}`))
      return true
    })
  }
})
