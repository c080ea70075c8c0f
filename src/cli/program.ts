/** The command tree: which commands there are, and how their help is laid out. Each command's code is loaded when it runs. */
import { Command } from 'commander'
import { backupCommand, checkCommand, listCommand, showCommand } from './backup-commands.js'
import { pinCommand, unpinCommand } from './pin-commands.js'
import { completionCommand } from './completion-command.js'
import { configCommand } from './config-command.js'
import { initCommand } from './init-command.js'
import { planCommand, restoreCommand } from './restore-commands.js'
import { dropClusterCommand, expireCommand, gcCommand } from './retention-commands.js'
import { statusCommand } from './status-command.js'
import { acknowledgeCommand, verifyCommand } from './verify-commands.js'
import { walCommand } from './wal-commands.js'

/** The whole command line. */
export function createProgram(version: string): Command {
  const program = new Command('pgsluice')
    .description('Streams PostgreSQL clusters into S3-compatible buckets and brings them back.')
    .version(version)
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .addHelpText('after', HELP)
    .exitOverride()
  program.addCommand(initCommand())
  program.addCommand(checkCommand())
  program.addCommand(statusCommand())
  program.addCommand(backupCommand())
  program.addCommand(listCommand())
  program.addCommand(showCommand())
  program.addCommand(pinCommand())
  program.addCommand(unpinCommand())
  program.addCommand(planCommand())
  program.addCommand(restoreCommand())
  program.addCommand(verifyCommand())
  program.addCommand(acknowledgeCommand())
  program.addCommand(walCommand())
  program.addCommand(expireCommand())
  program.addCommand(gcCommand())
  program.addCommand(dropClusterCommand())
  program.addCommand(configCommand())
  program.addCommand(completionCommand())
  for (const command of allCommands(program)) command.exitOverride().showHelpAfterError('(see --help)')
  return program
}

const HELP = `
Settings come from flags, PGSLUICE_* in the environment, and pgsluice.yaml, in this order. Credentials, region and
endpoint come from the AWS SDK's own chain; the server from libpq's own (PGHOST, PGSERVICE, ~/.pgpass).

Examples:
  export PGSLUICE_REPOSITORY=s3://backups/main
  pgsluice check
  pgsluice backup --label nightly
  pgsluice list
  pgsluice restore latest --target-dir /srv/restored`

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)]
}
