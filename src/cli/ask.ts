/** Questions on a terminal. Asked on stderr, since stdout is for results. */
import { createInterface } from 'node:readline/promises'
import { ToolError } from '../errors.js'

/** One question. */
export interface Question {
  text: string
  /** What an empty answer means; without it an empty answer means "nothing", or is asked again where one is needed. */
  initial?: string | undefined
  isNeeded?: boolean
  /** What is wrong with an answer, or undefined. */
  problem: (answer: string) => string | undefined
}

/** Whether there is somebody to ask. */
export function canAsk(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY
}

/** Asks until each answer is right. Rejects when the signal aborts, and at the end of the input. */
export async function askAll<T extends string>(
  questions: readonly (Question & { name: T })[],
  signal: AbortSignal,
): Promise<Partial<Record<T, string>>> {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  const ended = new AbortController()
  // the terminal is in raw mode: Ctrl-C is a key here, and becomes the signal that it is elsewhere
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'))
  lines.once('close', () => {
    ended.abort(new ToolError('usage', 'the input ended before all questions were answered'))
  })
  const answers: Partial<Record<T, string>> = {}
  try {
    for (const question of questions) {
      const answer = await ask(question, (text) =>
        lines.question(text, { signal: AbortSignal.any([signal, ended.signal]) }),
      )
      if (answer !== undefined) answers[question.name] = answer
    }
    return answers
  } catch (error) {
    throw ended.signal.aborted && !signal.aborted ? ended.signal.reason : error
  } finally {
    lines.close()
  }
}

async function ask(
  { text, initial, isNeeded = false, problem }: Question,
  question: (text: string) => Promise<string>,
): Promise<string | undefined> {
  for (;;) {
    const written = (await question(`${text}${initial === undefined ? '' : ` [${initial}]`}: `)).trim()
    const answer = written === '' ? initial : written
    if (answer === undefined && !isNeeded) return undefined
    const wrong = answer === undefined ? 'an answer is needed' : problem(answer)
    if (wrong === undefined) return answer
    process.stderr.write(`  ${wrong}\n`)
  }
}
