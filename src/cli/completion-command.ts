/** `completion`: a script that has a shell complete our commands, options and their values. */
import { Argument, Command } from 'commander'
import { EXIT_CODES } from '../errors.js'
import { setExitCode } from './exit.js'
import { COMMON_EXITS, helpEnd } from './options.js'

const SHELLS = ['bash', 'zsh', 'fish'] as const

/** `pgsluice completion` */
export function completionCommand(): Command {
  return new Command('completion')
    .description('print a script that has a shell complete the commands and options of pgsluice')
    .addArgument(new Argument('<shell>', 'the shell that reads it').choices(SHELLS))
    .addHelpText(
      'after',
      helpEnd(
        [
          'pgsluice completion bash > ~/.local/share/bash-completion/completions/pgsluice',
          'pgsluice completion zsh > /usr/local/share/zsh/site-functions/_pgsluice',
          'pgsluice completion fish > ~/.config/fish/completions/pgsluice.fish',
        ],
        [
          ...COMMON_EXITS.filter(([exit]) => exit === 0 || exit === EXIT_CODES.usage.exit),
          [EXIT_CODES['file-system'].exit, 'could not write it'],
        ],
      ),
    )
    .action(async (shell: (typeof SHELLS)[number], _: unknown, command: Command) => {
      // no settings: a mistake in them must not greet everybody who opens a terminal
      if (!command.parent) throw new Error('the command stands alone')
      const script = await scriptFor(shell, command.parent)
      await new Promise<void>((resolve) => {
        process.stdout.on('error', ({ message }) => {
          process.stderr.write(`pgsluice: could not write to standard output: ${message}\n`)
          setExitCode(EXIT_CODES['file-system'].exit)
          resolve()
        })
        process.stdout.write(script, (error) => {
          if (error) return
          setExitCode(0)
          resolve()
        })
      })
    })
}

async function scriptFor(shell: (typeof SHELLS)[number], program: Command): Promise<string> {
  const commands = (await import('./completion-model.js')).completedCommands(program)
  if (shell === 'bash') return (await import('./completion-bash.js')).bashCompletion(commands)
  if (shell === 'zsh') return (await import('./completion-zsh.js')).zshCompletion(commands)
  return (await import('./completion-fish.js')).fishCompletion(commands)
}
