/** What `restore` and `plan` are asked to recover to, in the words of the command line and of the programming interface. */
import { parseRecoveryTarget, parseTargetTimeline, type TargetOptions } from '../postgres/recovery-target.js'
import type { RecoveryRequest } from './recovery-plan.js'

/** What to recover from, and to. */
export interface RecoveryOptions {
  /** An id, the unique beginning of one, a label (its newest), or `latest`. Default: the newest that fits the target. */
  backup?: string | undefined
  /** At most one. Default: the end of the archive. */
  target?: TargetOptions | undefined
  /** A number (decimal, 0x…, or eight hexadecimal digits), `latest` or `current`. Default: the only one that goes on. */
  targetTimeline?: string | undefined
  /** Look for an xid or a name in the WAL. */
  scan?: boolean | undefined
}

/** The request that the options make. Throws ToolError `usage`. */
export function recoveryRequest(options: RecoveryOptions): RecoveryRequest {
  return {
    backup: options.backup,
    target: parseRecoveryTarget(options.target ?? {}),
    timeline: options.targetTimeline === undefined ? undefined : parseTargetTimeline(options.targetTimeline),
    scan: options.scan ?? false,
    describeEnd: false,
  }
}
