/** Completion for fish: one line an option, on the condition that the words so far lead to its command. */
import { completedOptions, type CompletedCommand, type CompletedOption, type Value } from './completion-model.js'

/** The script. */
export function fishCompletion(commands: readonly CompletedCommand[]): string {
  const valued = [...completedOptions(commands).values()].flatMap(({ long, value }) => (value ? [long] : []))
  const paths = commands.filter(({ path }) => path !== '').map(({ path }) => quote(path))
  return `# Completion of pgsluice for fish, written by "pgsluice completion fish".

# Succeeds where the words before the cursor lead to that command, with so many arguments of it.
function __pgsluice_at --argument-names wanted wanted_count
    set -l words (commandline --tokenize --current-process --cut-at-cursor)
    set -l command ''
    set -l count 0
    set -l skip no
    for word in $words[2..-1]
        if test $skip = yes
            set skip no
            continue
        end
        set -l path (string trim -- "$command $word")
        if contains -- $word ${valued.join(' ')}
            set skip yes
        else if string match --quiet -- '-*' $word
            continue
        else if contains -- $path ${paths.join(' ')}
            set command $path
        else
            set count (math $count + 1)
        end
    end
    test "$command" = "$wanted"; and begin
        test -z "$wanted_count"; or test $count = "$wanted_count"
    end
end

complete --command pgsluice --no-files
${commands.flatMap(linesOf).join('\n')}
`
}

function linesOf({ path, children, options, ...command }: CompletedCommand): string[] {
  const at = (count?: number): string => {
    const condition = `__pgsluice_at ${quote(path)}${count === undefined ? '' : ` ${String(count)}`}`
    return `complete --command pgsluice --condition ${quote(condition)}`
  }
  return [
    ...children.map(({ name, help }) => `${at(0)} --arguments ${name} --description ${quote(help)}`),
    ...command.arguments.flatMap(({ value }, place) => {
      const what = answer(value)
      return what === '' ? [] : [`${at(place)} ${what}`]
    }),
    ...options.map((option) => `${at()} ${optionWords(option)}`),
  ]
}

function optionWords({ long, short, help, value }: CompletedOption): string {
  const names = `--long-option ${long.slice(2)}${short === undefined ? '' : ` --short-option ${short.slice(1)}`}`
  const takes = value ? ` --require-parameter ${answer(value)}`.trimEnd() : ''
  return `${names}${takes} --description ${quote(help)}`
}

function answer(value: Value): string {
  if (value.kind === 'words') return `--no-files --arguments ${quote(value.words.join(' '))}`
  return { file: '--force-files', directory: `--no-files --arguments '(__fish_complete_directories)'`, other: '' }[
    value.kind
  ]
}

function quote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
