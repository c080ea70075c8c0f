/** The completion scripts in the shells that they are for. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { completedCommands, completedOptions } from '#src/cli/completion-model.js'
import { createProgram } from '#src/cli/program.js'
import { MAIN } from '../../support/command-line.js'
import type { Skippable } from '../../support/oracles.js'
import { runProgram } from '../../support/server-user.js'

const home = mkdtempSync(path.join(tmpdir(), 'pgsluice-completion-'))
const scriptOf = (shell: string): string => path.join(home, `script.${shell}`)
/** Nothing of whoever runs the tests; a mistake in the settings must not matter. */
const env = { PATH: process.env['PATH'], HOME: home, TERM: 'dumb', PGSLUICE_REPOSTORY: 'x' }

/** Calls the function as bash does: with the line in words, which it breaks at = and :, too. */
const BASH = `source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _pgsluice; printf '%s\\n' "\${COMPREPLY[@]}"`

const FISH = 'source $argv[1]; complete -C $argv[2]'

/** A shell at a terminal of its own, in which what is offered is written down on its way. */
const ZSH_INSIDE = `
PROMPT=
autoload -U compinit && compinit -u -d $HOME/dump
source $SCRIPT
bindkey '^I' complete-word
zstyle ':completion:*' insert-tab false
compadd() {
  if [[ " \${@[1,(i)(-|--)]} " != *\\ -[a-zA-Z]#[OAD]\\ * ]]; then
    local -a offered
    builtin compadd -A offered "$@"
    print -rl -- $offered >>$OUT
  fi
  builtin compadd "$@"
}
finish() { exit }
comppostfuncs=(finish)
print ready`
const ZSH = `
zmodload zsh/zpty
export SCRIPT=$1 OUT=$(mktemp)
zpty shell zsh -f -i
zpty -w shell 'source ./inside.zsh'
while zpty -r shell line; do [[ $line == ready* ]] && break; done
zpty -n -w shell "$2"$'\\t'
while zpty -r shell line; do :; done
cat $OUT; rm $OUT`

const SHELLS: Record<string, (line: string) => [string, ...string[]]> = {
  bash: (line) => ['bash', '--norc', '-c', BASH, 'bash', scriptOf('bash'), ...line.split(/ |(?<=[=:])|(?=[=:])/)],
  zsh: (line) => ['zsh', '-f', '-c', ZSH, 'zsh', scriptOf('zsh'), line],
  fish: (line) => ['fish', '--no-config', '-c', FISH, scriptOf('fish'), line],
}

/** Lines, each with all that is offered. */
const CASES: readonly { line: string; all: string[] }[] = [
  { line: 'pgsluice exp', all: ['expire'] },
  { line: 'pgsluice wal ', all: ['fetch', 'list', 'push'] },
  { line: 'pgsluice backup --ch', all: ['--checkpoint', '--checksum'] },
  { line: 'pgsluice wal push --re', all: ['--region', '--repository', '--request-timeout'] },
  { line: 'pgsluice verify --level ', all: ['content', 'metadata', 'wal'] },
  { line: 'pgsluice verify --level=m', all: ['metadata'] },
  { line: 'pgsluice check --path-style f', all: ['false'] },
  { line: 'pgsluice completion ', all: ['bash', 'fish', 'zsh'] },
  { line: 'pgsluice status --textfile space', all: ['space dir', 'space file.prom'] },
  { line: 'pgsluice backup --pgdata space', all: ['space dir'] },
  { line: 'pgsluice wal fetch --repository s3://b x space', all: ['space dir', 'space file.prom'] },
  { line: 'pgsluice restore ', all: [] },
  // the value of an option is no command
  { line: 'pgsluice backup --label verify --q', all: ['--quiet'] },
]

function isThere(shell: string): boolean {
  return (process.env['PATH'] ?? '').split(path.delimiter).some((place) => {
    try {
      execFileSync(path.join(place, shell), ['-c', 'true'], { env, stdio: 'ignore' })
      return true
    } catch {
      return false
    }
  })
}

function requireShell(test: Skippable, shell: string): boolean {
  if (isThere(shell)) return true
  const reason = `${shell} is not installed`
  if (process.env['PGSLUICE_REQUIRE_ORACLES'] === '1') throw new Error(reason)
  test.skip(reason)
  return false
}

describe('completion', () => {
  before(() => {
    mkdirSync(path.join(home, 'space dir'))
    writeFileSync(path.join(home, 'space file.prom'), '')
    writeFileSync(path.join(home, 'inside.zsh'), ZSH_INSIDE)
    for (const shell of Object.keys(SHELLS)) {
      writeFileSync(scriptOf(shell), execFileSync(process.execPath, [MAIN, 'completion', shell], { env }))
    }
  })
  after(() => rmSync(home, { recursive: true }))

  for (const [shell, command] of Object.entries(SHELLS)) {
    it(`offers what fits, in ${shell}`, async (t) => {
      if (!requireShell(t, shell)) return
      for (const { line, all } of CASES) {
        const [program, ...args] = command(line)
        const { exitCode, stdout, stderr } = await runProgram(program, args, { cwd: home, env })
        assert.deepEqual([exitCode, stderr], [0, ''], `${line}: ${stdout}${stderr}`)
        const offered = stdout
          .split('\n')
          // fish describes behind a tab, names the whole word, escapes it, and marks directories
          .map((text) =>
            text
              .replace(/\t.*/, '')
              .replace(/^--level=(?=.)/, '')
              .replaceAll('\\', '')
              .replace(/\/$/, ''),
          )
          .filter((text) => text !== '')
        assert.deepEqual([...new Set(offered)].sort(), all, line)
      }
    })
  }

  it('knows every option of every command by its name, with the same values everywhere', () => {
    const commands = completedCommands(createProgram('0'))
    assert.ok(commands.length > 20)
    const options = completedOptions(commands)
    assert.deepEqual(options.get('--target-dir')?.value, { kind: 'directory' })
    assert.deepEqual(options.get('--checksum')?.value, { kind: 'words', words: ['CRC32C', 'SHA256'] })
    assert.equal(options.get('--json')?.value, undefined)
    const [first] = commands
    const other = { ...first!, options: [{ ...options.get('--checksum')!, value: { kind: 'other' as const } }] }
    assert.throws(() => completedOptions([...commands, other]), /"--checksum" takes other values/)
  })

  it('refuses a shell that it does not know', async () => {
    const { exitCode, stdout, stderr } = await runProgram(process.execPath, [MAIN, 'completion', 'csh'], { env })
    assert.deepEqual([exitCode, stdout], [2, ''])
    assert.match(stderr, /'csh' is invalid for argument 'shell'. Allowed choices are bash, zsh, fish/)
  })
})
