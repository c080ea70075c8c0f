/** The commands of the program, and what their help says. */
import type { Command } from 'commander'

const WIDTH = 100

/** A command and all below it that its help shows, with the words that lead there. */
export function commandsBelow(command: Command, above: readonly string[]): { command: Command; words: string[] }[] {
  const words = [...above, command.name()]
  return [
    { command, words },
    ...command
      .createHelp()
      .visibleCommands(command)
      .flatMap((child) => commandsBelow(child, words)),
  ]
}

/** Its help, with what the commands add at the end, which helpInformation() leaves out. */
export function helpOf(command: Command): string {
  let text = ''
  command.configureOutput({
    writeOut: (piece) => {
      text += piece
    },
    getOutHelpWidth: () => WIDTH,
    getOutHasColors: () => false,
  })
  command.outputHelp()
  return text.trim()
}
