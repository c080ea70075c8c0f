/** Completion for zsh: `_arguments` of its own completion system, to be sourced, or to be found in $fpath as _pgsluice. */
import type { CompletedCommand, CompletedOption, Value } from './completion-model.js'

/** The script. */
export function zshCompletion(commands: readonly CompletedCommand[]): string {
  return `#compdef pgsluice
# Completion of pgsluice for zsh, written by "pgsluice completion zsh".

${commands.map((command) => functionOf(command, commands)).join('\n\n')}

# found in $fpath this file is the function itself
if [[ $funcstack[1] == _pgsluice ]]; then
  _pgsluice "$@"
else
  compdef _pgsluice pgsluice
fi
`
}

function functionOf({ path, children, ...command }: CompletedCommand, all: readonly CompletedCommand[]): string {
  const specs = command.options.map(optionSpec)
  if (children.length === 0) {
    const places = command.arguments.map(({ name, value }) => quote(`:${name}:${action(value)}`))
    return `${nameOf(path)}() {\n  _arguments ${continued([...specs, ...places])}\n}`
  }
  const described = children.map(({ name, help }) => quote(`${name}:${help.replaceAll(':', '\\:')}`))
  const below = all.filter((one) => children.some(({ name }) => one.path === [path, name].join(' ').trim()))
  const cases = below.map((one) => `    ${one.path.split(' ').at(-1) ?? ''}) ${nameOf(one.path)} ;;`)
  return `${nameOf(path)}() {
  local curcontext=$curcontext state line
  typeset -A opt_args
  local -a commands=(
    ${described.join('\n    ')}
  )
  _arguments -C ${continued([...specs, quote(': :->command'), quote('*:: :->rest')])}
  case $state in
  command) _describe -t commands command commands ;;
  rest)
    case $line[1] in
${cases.join('\n')}
    esac
    ;;
  esac
}`
}

function optionSpec({ long, short, help, value, placeholder, isRepeatable }: CompletedOption): string {
  const names = short === undefined ? long : `${long},${short}`
  const others = isRepeatable ? '*' : short === undefined ? '' : `(${long} ${short})`
  const rest = `[${bare(help)}]${value ? `:${bare(placeholder)}:${action(value)}` : ''}`
  // the = says that the value may be in the same word
  if (short === undefined) return quote(`${others}${long}${value ? '=' : ''}${rest}`)
  return `${quote(others)}{${names}}${quote(rest)}`
}

function action(value: Value): string {
  if (value.kind === 'words') return `(${value.words.join(' ')})`
  // a blank: there is something to be said here, and nothing to offer
  return { file: '_files', directory: '_files -/', other: ' ' }[value.kind]
}

function bare(text: string): string {
  return text.replace(/[[\]:\\]/g, '\\$&')
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function nameOf(path: string): string {
  return ['_pgsluice', ...path.split(' ').filter((word) => word !== '')].join('-').replace(/^_pgsluice-/, '_pgsluice__')
}

function continued(specs: readonly string[]): string {
  return specs.map((spec) => `\\\n    ${spec}`).join(' ')
}
