/** What a restore does about configuration that lay outside the data directory: plan its return, or say that it stays away. */
import type { BackupRecord } from '../repository/backup-record.js'
import { basePrefix } from '../repository/layout.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { planConfiguration, type ConfigurationPlan } from './restore-configuration.js'
import { mainFile, plannedFiles, settlePlaces } from './restore-configuration-notes.js'
import type { RecoveryChoice } from './restore-files.js'
import type { RestorePlan } from './restore-plan.js'
import type { RestoreTarget } from './restore-target.js'

/** Configuration files that were restored beside the data directory. */
export interface RestoredConfiguration {
  directory: string
  /** Absolute. */
  files: string[]
  /** For a shell: starts a server on the restored directory with these files. */
  startCommand: string
}

/** Configuration that lay outside: what is restored of it, or a warning that it is not (W8). */
export async function externalConfiguration(
  storage: Storage,
  record: BackupRecord,
  { configuration: lines }: RestorePlan,
  target: RestoreTarget,
  configDirectory: string | undefined,
  context: CommandContext,
): Promise<
  { plan: ConfigurationPlan; result: RestoredConfiguration; external: RecoveryChoice['external'] } | undefined
> {
  if (configDirectory === undefined) {
    if (lines.length === 0) return undefined
    const keys = lines.map(({ name }) => basePrefix(record.cluster, record.id) + name)
    context.report({
      type: 'warning',
      message: `the configuration of this cluster lived outside its data directory "${target.directory}"`,
      hint: `--config-dir DIR restores it, too. Copies are in the repository: ${keys.join(', ')}.`,
    })
    return undefined
  }
  const plan = await planConfiguration(storage, record, lines, { target, configDirectory }, context.signal)
  const startCommand = await settlePlaces(plan, target.directory, context)
  const main = mainFile(plan)?.place
  return {
    plan,
    result: { directory: plan.directory, files: plan.files.map(({ place }) => place), startCommand },
    external: main === undefined ? undefined : { main, files: plannedFiles(plan) },
  }
}
