/** What the demo says: one numbered step after another, what is run, how long it took, and a summary at the end. */
import colors from 'picocolors'

const BAR = colors.dim('│')

/** Tells the story on stdout. */
export class Narrator {
  #step = 0
  #silent = false
  readonly #began = performance.now()

  /** Runs one step under its title and says how long it took; what it throws ends the story. */
  async step<T>(title: string, action: () => Promise<T>): Promise<T> {
    this.#step += 1
    this.#print(`\n${colors.cyan(`${this.#step}.`)} ${colors.bold(title)}`)
    const began = performance.now()
    try {
      const result = await action()
      this.#print(`   ${colors.green('done')} ${colors.dim(`in ${seconds(performance.now() - began)}`)}`)
      return result
    } catch (error) {
      this.#print(`   ${colors.red('failed')} ${colors.dim(`after ${seconds(performance.now() - began)}`)}`)
      throw error
    }
  }

  /** A sentence within a step. */
  say(text: string): void {
    this.#print(`   ${text}`)
  }

  /** A command that is about to be run. */
  command(text: string): void {
    this.#print(`   ${colors.yellow('$')} ${text}`)
  }

  /** A line that a command printed. */
  output(line: string): void {
    this.#print(`   ${BAR} ${line}`)
  }

  /** The end of the story: names and values. */
  summary(title: string, rows: readonly (readonly [string, string])[]): void {
    const width = Math.max(...rows.map(([name]) => name.length))
    this.#print(`\n${colors.bold(colors.green(title))}`)
    for (const [name, value] of rows) this.#print(`   ${name.padEnd(width)}  ${value}`)
    this.#print(`   ${'all of it'.padEnd(width)}  ${seconds(performance.now() - this.#began)}`)
  }

  /** Says nothing any more: what fails from now on fails because it is being ended. */
  fallSilent(): void {
    this.#silent = true
  }

  #print(text: string): void {
    if (!this.#silent) process.stdout.write(`${text}\n`)
  }
}

/** `1.2 s` */
export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`
}

/** `12,345` */
export function count(value: number): string {
  return value.toLocaleString('en-US')
}

/** `1.3 MiB` */
export function mebibytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`
}
