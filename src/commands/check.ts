/**
 * Is everything ready: would a backup succeed, and does WAL reach the repository? Each finding is one line: ok, warning
 * or failure, with what to do about it.
 */
import type { Settings } from '../config/settings.js'
import { connectToServer, type Session } from '../postgres/session/connection.js'
import type { StorageSpeed } from '../storage/measure.js'
import { openDataDirectory } from './backup-source.js'
import { checkArchiving } from './check-archiving.js'
import { checkServer } from './check-server.js'
import { checkStore } from './check-store.js'
import type { CommandContext } from './context.js'
import { add, attempt, type Finding } from './findings.js'

/** What a check answers. */
export interface CheckAnswer {
  /** No finding is a failure. */
  ready: boolean
  findings: Finding[]
  /** How fast the store was; undefined where nothing could be written. */
  speed?: Pick<StorageSpeed, 'latencyMs' | 'writeBytesPerSecond' | 'readBytesPerSecond'>
}

/** Checks server, repository and the way between them. Never throws for what it finds: `ready` says the answer. */
export async function check(settings: Settings, context: CommandContext): Promise<CheckAnswer> {
  const findings: Finding[] = []
  const store = await checkStore(settings, findings, context)
  const storage = store?.storage
  let session: Session | undefined
  try {
    session = await attempt(findings, 'server', () =>
      connectToServer({ dbname: settings.dbname, signal: context.signal }),
    )
    const server = session && (await checkServer(session, findings))
    if (session && server) {
      const directory = await attempt(findings, 'data directory', async () => {
        const { dataDirectory } = await openDataDirectory(server, settings)
        add(findings, 'data directory', 'ok', `"${dataDirectory}" can be read, and is the server's`)
        return dataDirectory
      })
      if (storage) await checkArchiving(session, { server, directory, storage }, settings, findings, context)
    }
  } finally {
    await session?.end()
    storage?.close()
  }
  const ready = findings.every(({ result }) => result !== 'failure')
  if (!store?.speed) return { ready, findings }
  const { latencyMs, writeBytesPerSecond, readBytesPerSecond } = store.speed
  return { ready, findings, speed: { latencyMs, writeBytesPerSecond, readBytesPerSecond } }
}
