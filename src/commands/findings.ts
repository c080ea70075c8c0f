/** What a check finds: one line each, and what to do about it. */
import { reasonOf, ToolError } from '../errors.js'

/** One line of the answer. */
export interface Finding {
  about: 'server' | 'data directory' | 'repository' | 'archiving'
  result: 'ok' | 'warning' | 'failure'
  message: string
  /** What to do, as something to paste where that is possible. */
  hint?: string
}

/** Adds a finding. */
export function add(
  findings: Finding[],
  about: Finding['about'],
  result: Finding['result'],
  message: string,
  hint?: string,
): void {
  findings.push({ about, result, message, ...(hint !== undefined && { hint }) })
}

/** What fails becomes a finding; an interrupt and a bug do not. */
export async function attempt<T>(
  findings: Finding[],
  about: Finding['about'],
  action: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await action()
  } catch (error) {
    if (!(error instanceof ToolError) || error.code === 'interrupted' || error.code === 'usage') throw error
    const reason = error.cause === undefined ? '' : reasonOf(error.cause)
    const cause = reason === '' || error.message.includes(reason) ? '' : `: ${reason}`
    add(findings, about, 'failure', error.message + cause, error.hint)
    return undefined
  }
}
