/** WAL, one call after another as the server does it: pushes of segments, and fetches that are compared with what was pushed. */
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { ROOT } from '../../test/support/oracles.js'
import { giveToServerUser } from '../../test/support/server-user.js'
import { measure } from './measure.js'
import { makeWalDirectory } from './source.js'
import type { Measured } from './measure.js'
import type { WalSubject } from './results.js'
import type { Segments, Source } from './source.js'
import type { Scene, Tool } from './tool.js'

/** One way to push or to fetch. */
export interface WalCase {
  verb: 'push' | 'fetch'
  segments: number
  /** Whether the tool may do more than it was asked. */
  ahead: boolean
}

/** What a case cost, and the milliseconds of each call. */
export type WalMeasured = Measured & { calls: number[] }

/** The name of a case in the results. */
export function subjectOf({ verb, segments, ahead }: WalCase): WalSubject {
  return `wal ${verb}, ${segments} segments, ${ahead ? 'ahead' : 'one a call'}`
}

/** The cases of a tool: with fewer segments at hand the large one shrinks. */
export function walCases(tool: Tool, available: number): WalCase[] {
  const few = Math.min(20, available)
  const modes = tool.hasAhead ? [false, true] : [false]
  const cases = modes.flatMap((ahead): WalCase[] => [
    { verb: 'push', segments: few, ahead },
    ...(available > few ? [{ verb: 'push', segments: available, ahead } as const] : []),
    { verb: 'fetch', segments: few, ahead },
  ])
  return cases
}

/**
 * Runs one case in a directory of its own. A push finds all segments ready, as after a burst; a fetch takes what the scene's
 * repository already has.
 */
export async function runWal(
  what: WalCase,
  tool: Tool,
  scene: Scene,
  source: Source,
  segments: Segments,
  store: readonly number[],
): Promise<WalMeasured> {
  const directory = path.join(scene.work, subjectOf(what).replaceAll(/\W+/g, '-'))
  const data = path.join(directory, 'data')
  makeWalDirectory(source.cluster, data)
  const names = segments.names.slice(0, what.segments)
  if (what.verb === 'push') {
    for (const name of names) {
      copyFileSync(path.join(segments.directory, name), path.join(data, 'pg_wal', name))
      writeFileSync(path.join(data, 'pg_wal/archive_status', `${name}.ready`), '')
    }
  } else {
    mkdirSync(path.join(directory, 'fetched'))
    writeFileSync(path.join(data, 'recovery.signal'), '')
  }
  const list = path.join(directory, 'names')
  writeFileSync(list, names.join('\n'))
  await giveToServerUser(scene.work)
  const here = { ...scene, pgdata: data, server: undefined }
  if (what.verb === 'push') await tool.prepare?.(here)
  const { verb, ahead } = what
  const command = verb === 'push' ? tool.archiveCommand(here, ahead) : tool.restoreCommand(here, ahead)
  const times = path.join(directory, 'times')
  const measured = await measure({
    command: ['python3', path.join(ROOT, 'scripts/bench/archiver.py'), what.verb, command, list, times],
    env: tool.environment(here),
    cwd: data,
    out: path.join(directory, 'measured'),
    store,
    postmaster: undefined,
  })
  if (what.verb === 'fetch') compare(path.join(directory, 'fetched'), names, segments)
  return { ...measured, calls: JSON.parse(readFileSync(times, 'utf8')) as number[] }
}

function compare(directory: string, names: readonly string[], segments: Segments): void {
  for (const name of names) {
    const digest = createHash('sha256')
      .update(readFileSync(path.join(directory, name)))
      .digest('hex')
    if (digest !== segments.digests.get(name)) throw new Error(`"${name}" came back with other content`)
  }
}
