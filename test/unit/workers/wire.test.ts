import { ExistsError, NotFoundError, systemErrorCode, ToolError } from '#src/errors.js'
import { fromPlainError, toPlainError } from '#src/workers/wire.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const cause = new ToolError('storage', 'could not write "x"', { hint: 'Try again.', cause: new Error('deep down') })
const errors: Record<string, Error> = {
  'a ToolError with hint and causes': new ToolError('damaged', 'it is damaged', { hint: 'Look.', cause }),
  'a NotFoundError': new NotFoundError('some/key', { cause }),
  'an ExistsError': new ExistsError('some/key'),
  'an error of the system': Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC' }),
  'an ordinary error': new TypeError('this is a bug'),
}

for (const [what, error] of Object.entries(errors)) {
  test(`${what} is the same error after it crossed threads`, () => {
    const found = fromPlainError(structuredClone(toPlainError(error)))
    assert.equal(found.constructor, error instanceof ToolError ? error.constructor : Error)
    assert.equal(found.name, error.name)
    assert.equal(found.message, error.message)
    assert.equal(found.stack, error.stack)
    assert.equal(systemErrorCode(found), systemErrorCode(error))
    if (error instanceof ToolError && found instanceof ToolError) {
      assert.deepEqual([found.code, found.hint], [error.code, error.hint])
    }
    for (let [a, b]: unknown[] = [error, found]; a instanceof Error; [a, b] = [a.cause, (b as Error).cause]) {
      assert.equal((b as Error).message, a.message)
    }
  })
}

test('what is thrown and is no error crosses threads as its text', () => {
  assert.equal(fromPlainError(toPlainError('a text')).message, 'a text')
})
