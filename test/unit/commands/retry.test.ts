import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { retry } from '#src/commands/retry.js'
import { ToolError, type ErrorCode } from '#src/errors.js'
import type { ReportEvent } from '#src/report.js'

const fails = (code: ErrorCode, message: string): ToolError => new ToolError(code, message)

/** Runs attempts that end as they are told, and the last one again and again. */
async function run(
  endings: (ToolError | string)[],
  options: { forMs: number; cutShort?: boolean; signal?: AbortSignal },
): Promise<{ result?: string; error?: unknown; attempts: number; warnings: string[] }> {
  const warnings: string[] = []
  let attempts = 0
  const attempt = (): Promise<string> => {
    const ending = endings[Math.min(attempts++, endings.length - 1)]!
    return typeof ending === 'string' ? Promise.resolve(ending) : Promise.reject(ending)
  }
  const report = (event: ReportEvent): void => {
    if (event.type === 'warning') warnings.push(event.message)
  }
  const { forMs, cutShort = false, signal = new AbortController().signal } = options
  try {
    return { result: await retry(attempt, { forMs, cutShort }, { report, signal }), attempts, warnings }
  } catch (error) {
    return { error, attempts, warnings }
  }
}

describe('retry()', () => {
  it('returns what a later attempt gives, and says why it was tried again', async () => {
    const ended = await run([fails('storage', 'no bucket'), 'done'], { forMs: 5000 })
    assert.deepEqual([ended.result, ended.attempts], ['done', 2])
    assert.match(ended.warnings.join(), /^no bucket; trying again for \d+ s$/)
  })

  it('says the same reason once, and each new one', async () => {
    const ended = await run([fails('storage', 'one'), fails('storage', 'one'), fails('damaged', 'two'), 'done'], {
      forMs: 20_000,
    })
    assert.equal(ended.attempts, 4)
    assert.deepEqual(
      ended.warnings.map((text) => text.split(';')[0]),
      ['one', 'two'],
    )
  })

  it('gives up with the last error when the time is up', async () => {
    const ended = await run([fails('storage', 'first'), fails('file-system', 'last')], { forMs: 3000 })
    assert.equal((ended.error as ToolError).message, 'last')
    assert.ok(ended.attempts >= 2)
  })

  for (const code of ['usage', 'configuration', 'not-in-archive', 'refused', 'conflict'] as const) {
    it(`does not try again what will not pass: ${code}`, async () => {
      const ended = await run([fails(code, 'no')], { forMs: 60_000 })
      assert.deepEqual([(ended.error as ToolError).code, ended.attempts, ended.warnings], [code, 1, []])
    })
  }

  it('does not try a bug again', async () => {
    const bug = new TypeError('bug')
    await assert.rejects(
      retry(
        () => Promise.reject(bug),
        { forMs: 60_000, cutShort: false },
        {
          report: () => undefined,
          signal: new AbortController().signal,
        },
      ),
      bug,
    )
  })

  it('cuts an attempt short that does not end in time, which may be any fraction of a millisecond', async () => {
    const never = (signal: AbortSignal): Promise<never> =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error))
      })
    await assert.rejects(
      retry(
        never,
        { forMs: 200.75, cutShort: true },
        { report: () => undefined, signal: new AbortController().signal },
      ),
      { code: 'storage', message: 'the store did not answer within 0.2 s' },
    )
  })

  it('lets an attempt go on that gets on, and cuts it short as soon as it does not', async () => {
    const began = performance.now()
    const slow = (signal: AbortSignal): Promise<string> =>
      new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error))
        setTimeout(resolve, 600, 'done')
      })
    const context = { report: (): void => undefined, signal: new AbortController().signal }
    const movingFor = (ms: number): Promise<string> =>
      retry(slow, { forMs: 50, cutShort: true, isMoving: () => performance.now() - began < ms }, context)
    assert.equal(await movingFor(Infinity), 'done')
    await assert.rejects(movingFor(0), { code: 'storage' })
  })

  it('tries again where nobody had credentials at that moment: a role or a token is renewed elsewhere', async () => {
    const cause = Object.assign(new Error('Token is expired'), { name: 'CredentialsProviderError' })
    const error = new ToolError('configuration', 'could not read "x"', { cause })
    const ended = await run([error, 'done'], { forMs: 5000 })
    assert.deepEqual([ended.result, ended.attempts], ['done', 2])
  })

  it('ends at once when it is told to, also in a pause', async () => {
    const controller = new AbortController()
    const reason = fails('interrupted', 'told to')
    const running = run([fails('storage', 'no')], { forMs: 60_000, signal: controller.signal })
    setImmediate(() => controller.abort(reason))
    const ended = await running
    assert.equal((ended.error as Error).name, 'AbortError')
    assert.equal(ended.attempts, 1)
  })
})
