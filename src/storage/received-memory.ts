/**
 * Lets go of what was received.
 *
 * Node.js reads a socket into a new 64 KiB of memory each time, and all that holds it is an object of a few dozen bytes:
 * until the collector comes by, which goes by the size of the objects, 30 MB and more of each thread have piled up. It is
 * asked in between instead, so that memory does not depend on how busy a machine is (O8).
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * A collection of young objects takes a fraction of a millisecond where few are alive, as here. What it frees is given back
 * by a thread of V8's, late on a busy machine: a restore took 202 to 241 MiB there with 8 MiB, 175 to 180 with 4, and 164 to
 * 172 with 2, which cost some 6 % of its time.
 */
const COLLECT_EVERY_BYTES = 4 * 1024 * 1024

let sinceLast = 0
let collect: (() => void) | undefined

/** Notes that this thread received so many bytes, and is done with those before. */
export function noteReceived(bytes: number): void {
  sinceLast += bytes
  if (sinceLast < COLLECT_EVERY_BYTES) return
  sinceLast = 0
  collect ??= youngCollector()
  collect()
}

/** The collector is not exposed by default; a context that is made while the flag stands has it. */
function youngCollector(): () => void {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as ((options: { type: 'minor' }) => void) | undefined
  setFlagsFromString('--no-expose-gc')
  return () => gc?.({ type: 'minor' })
}
