/** A recovery target that the archive cannot lead to: known before anything is written, and said with what is possible instead. */
import { ToolError } from '../errors.js'

/** `restore` refuses with it; for `plan` it is the answer. */
export class UnreachableTargetError extends ToolError {
  constructor(message: string, hint?: string, cause?: unknown) {
    super('refused', message, { hint, cause })
    this.name = 'UnreachableTargetError'
  }
}
