/** Completion for bash, from 3.2 (macOS) on: no associative arrays, no mapfile, and nothing of the package bash-completion. */
import { completedOptions, type CompletedCommand, type Value } from './completion-model.js'

/** The script. */
export function bashCompletion(commands: readonly CompletedCommand[]): string {
  const options = [...completedOptions(commands).values()]
  const valued = options.flatMap(({ long, value }) => (value ? [long] : []))
  const answers = [...new Set(options.flatMap(({ value }) => (value ? [answer(value)] : [])))]
  const ofOptions = answers.map((one) => {
    const names = options.filter(({ value }) => value && answer(value) === one).map(({ long }) => long)
    return `  ${names.join(' | ')})\n    ${one}\n    return\n    ;;`
  })
  const paths = commands.filter(({ path }) => path !== '').map(({ path }) => quote(path))
  const ofCommands = commands.flatMap(({ path, children, ...command }) => {
    const names = command.options.map(({ long }) => long).join(' ')
    const line = (places: readonly string[], what: string): string =>
      `  ${places.map((place) => quote(`${path}:${place}`)).join(' | ')}) ${what} ;;`
    const ofOptions = `_pgsluice_words '${names}'`
    const ofChildren = `_pgsluice_words '${children.map(({ name }) => name).join(' ')}'`
    if (children.length > 0) return [line(['-'], ofOptions), line(['0'], ofChildren)]
    // what takes no argument can only go on with an option
    if (command.arguments.length === 0) return [line(['-', '0'], ofOptions)]
    return [line(['-'], ofOptions), ...command.arguments.map(({ value }, at) => line([String(at)], answer(value)))]
  })
  return `# Completion of pgsluice for bash, written by "pgsluice completion bash".

_pgsluice_words() {
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "$1" -- "$cur")
}

_pgsluice_paths() {
  compopt -o filenames 2>/dev/null
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen "$1" -- "$cur")
}

_pgsluice() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} command= count=0 skip= word i
  COMPREPLY=()
  # bash takes --option=value for three words
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]]; then
    prev=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  case $prev in
${ofOptions.join('\n')}
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    # and a URL for three
    if [[ $word == [=:] || \${COMP_WORDS[i - 1]} == : ]]; then continue; fi
    if [[ -n $skip ]]; then
      skip=
      continue
    fi
    case $word in
    ${valued.join(' | ')}) skip=1 ;;
    -*) ;;
    *)
      case "\${command:+$command }$word" in
      ${paths.join(' | ')}) command="\${command:+$command }$word" ;;
      *) count=$((count + 1)) ;;
      esac
      ;;
    esac
  done
  if [[ $cur == -* ]]; then count=-; fi
  case $command:$count in
${ofCommands.join('\n')}
  esac
}

complete -F _pgsluice pgsluice
`
}

function answer(value: Value): string {
  if (value.kind === 'words') return `_pgsluice_words '${value.words.join(' ')}'`
  if (value.kind === 'other') return ':'
  return `_pgsluice_paths ${value.kind === 'directory' ? '-d' : '-f'}`
}

function quote(text: string): string {
  return text.includes(' ') || text.startsWith(':') ? `'${text}'` : text
}
