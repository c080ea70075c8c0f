/**
 * A file for the textfile collector of Prometheus' node_exporter, written after a run of a command whatever its outcome.
 * The collector may read at any moment, so the file is replaced in one step; its directory is shared, so what is not ours
 * is never replaced, and no other file of ours may hold the same sample: each has the name of its file as a label.
 */
import { constants } from 'node:fs'
import { access, lstat, readFile, stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import type { ReportEvent } from '../report.js'
import { writeFileDurably } from '../streams/write-file-durably.js'
import { readExposition } from './prometheus-reader.js'
import { exposition, type Gauge } from './prometheus.js'
import { commandOf, textfileGauges, type EndedRun, type RunMetrics } from './textfile-content.js'

/** The collector reads no other names. */
const SUFFIX = '.prom'

/** The file of one run. */
export class Textfile<T> {
  readonly #path: string
  readonly #metrics: RunMetrics<T>
  #cluster: string | undefined

  constructor(path: string, metrics: RunMetrics<T>) {
    this.#path = path
    this.#metrics = metrics
  }

  /** Looks whether it can be written: rejects with ToolError `usage` where it cannot, before anything is done. */
  static async open<T>(path: string, metrics: RunMetrics<T>): Promise<Textfile<T>> {
    const absolute = resolve(path)
    const wrong = (problem: string): ToolError =>
      new ToolError('usage', `wrong value ${JSON.stringify(path)} for --textfile: ${problem}`)
    if (!basename(absolute).endsWith(SUFFIX) || basename(absolute) === SUFFIX) {
      throw wrong(`expected a name that ends in ${SUFFIX}: the collector reads no other`)
    }
    const directory = dirname(absolute)
    try {
      if (!(await stat(directory)).isDirectory()) throw wrong(`"${directory}" is no directory`)
      await access(directory, constants.W_OK | constants.X_OK)
    } catch (error) {
      if (error instanceof ToolError) throw error
      throw wrong(`no file can be made in "${directory}": ${reasonOf(error)}`)
    }
    const before = await readBefore(absolute, metrics)
    if ('problem' in before) throw wrong(before.problem)
    return new Textfile(absolute, metrics)
  }

  /** Takes note of what the run tells while it works. */
  observe(event: ReportEvent): void {
    if (event.type === 'backup-started') this.#cluster = event.cluster
  }

  /** Writes it. Never stops for a signal: that the run was interrupted is what it has to tell. */
  async write(run: EndedRun<T>): Promise<void> {
    const path = this.#path
    const failed = (reason: string, cause?: unknown): ToolError =>
      new ToolError('file-system', `could not write the textfile "${path}": ${reason}`, { cause })
    // anew: another run may have ended since this one began
    const before = await readBefore(path, this.#metrics)
    if ('problem' in before) throw failed(before.problem)
    const gauges = textfileGauges(this.#metrics, { cluster: this.#cluster, ...run }, before.gauges)
    const text = exposition(gauges.map((gauge) => ofFile(gauge, basename(path, SUFFIX))))
    try {
      // the collector is another user, whatever our umask
      await writeFileDurably(path, Buffer.from(text), { exactMode: 0o644 })
    } catch (cause) {
      throw failed(reasonOf(cause), cause)
    }
  }
}

/** What the file says now: nothing where it is not there, or empty. What is not of this command must not be replaced. */
async function readBefore<T>(
  path: string,
  { command }: RunMetrics<T>,
): Promise<{ gauges: Gauge[] } | { problem: string }> {
  let text: string
  try {
    if (!(await lstat(path)).isFile()) return { problem: 'it is no regular file' }
    text = await readFile(path, 'utf8')
  } catch (error) {
    return systemErrorCode(error) === 'ENOENT' ? { gauges: [] } : { problem: reasonOf(error) }
  }
  const gauges = readExposition(text)
  if (!gauges) return { problem: 'it holds what pgsluice has not written, and would be replaced' }
  const foreign = gauges.find(({ name }) => commandOf(name) !== command)
  if (foreign) return { problem: `it holds "${foreign.name}", which is not of "pgsluice ${command}"` }
  return { gauges }
}

function ofFile({ name, help, samples }: Gauge, file: string): Gauge {
  return { name, help, samples: samples.map(({ labels, value }) => ({ labels: { ...labels, file }, value })) }
}
