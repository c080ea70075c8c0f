/** Events and results as JSON lines on stdout: the stable contract for machines. */
import type { Report } from '../report.js'

/** Writes one JSON document a line. */
export function jsonReport(write: (text: string) => void): Report {
  return (event) => {
    write(`${JSON.stringify(event)}\n`)
  }
}
