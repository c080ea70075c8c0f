/** The command line as completion needs it: plain data, read off the program itself, so that it cannot be out of date. */
import type { Argument, Command, Option } from 'commander'
import { jsonForm, SETTING_NAMES } from '../config/settings.js'

/** What may stand in a place: one of some words, a path, or what no shell can know. */
export type Value = { kind: 'words'; words: readonly string[] } | { kind: 'file' | 'directory' | 'other' }

/** One option of a command. */
export interface CompletedOption {
  long: string
  short: string | undefined
  help: string
  /** As the help shows it; empty where it takes no value. */
  placeholder: string
  /** Missing where it takes none. */
  value?: Value
  /** Whether it may be given more than once. */
  isRepeatable: boolean
}

/** One command, or the program. */
export interface CompletedCommand {
  /** `wal push`; empty for the program. */
  path: string
  help: string
  children: { name: string; help: string }[]
  options: CompletedOption[]
  arguments: { name: string; value: Value }[]
}

/** All commands that the help shows, the program first. */
export function completedCommands(program: Command): CompletedCommand[] {
  return below(program, [])
}

/** Every option by its long name. An option must mean the same in all commands: the scripts know it by its name alone. */
export function completedOptions(commands: readonly CompletedCommand[]): Map<string, CompletedOption> {
  const options = new Map<string, CompletedOption>()
  for (const option of commands.flatMap((command) => command.options)) {
    const there = options.get(option.long)
    if (there && JSON.stringify(there.value) !== JSON.stringify(option.value)) {
      throw new Error(`"${option.long}" takes other values in one command than in another`)
    }
    options.set(option.long, option)
  }
  return options
}

function below(command: Command, path: readonly string[]): CompletedCommand[] {
  const help = command.createHelp()
  const children = help.visibleCommands(command).filter((child) => child.name() !== 'help')
  return [
    {
      path: path.join(' '),
      help: command.description(),
      children: children.map((child) => ({ name: child.name(), help: child.description() })),
      options: help.visibleOptions(command).map(completedOption),
      arguments: command.registeredArguments.map((argument) => ({
        name: argument.name(),
        value: valueOf(argument, argument.name().toUpperCase()),
      })),
    },
    ...children.flatMap((child) => below(child, [...path, child.name()])),
  ]
}

function completedOption(option: Option): CompletedOption {
  const { long, short, description: help, flags } = option
  if (!long) throw new Error(`the option "${flags}" has no long name`)
  const placeholder = /[<[]([^>\]]+)[>\]]/.exec(flags)?.[1] ?? ''
  // commander does not know, the help has to tell anyway
  const shared = { long, short, help, placeholder, isRepeatable: help.includes('may be repeated') }
  return placeholder === '' ? shared : { ...shared, value: valueOf(option, placeholder) }
}

function valueOf(of: Option | Argument, placeholder: string): Value {
  const words = of.argChoices ?? settingWords(of.name())
  if (words) return { kind: 'words', words }
  if (placeholder === 'DIR') return { kind: 'directory' }
  return { kind: ['FILE', 'PATH', 'DESTINATION'].includes(placeholder) ? 'file' : 'other' }
}

/** The words that a setting may be, where it is one of a few. */
function settingWords(name: string): string[] | undefined {
  const setting = SETTING_NAMES.find((each) => each === name)
  const words = setting && jsonForm(setting)['enum']
  return Array.isArray(words) ? [...new Set(words.map(String))] : undefined
}
