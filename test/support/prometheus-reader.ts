/**
 * Metrics as Prometheus' own Python client reads them (package prometheus_client, which .ci/run installs): a reader that is
 * none of ours.
 */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { ROOT, type Skippable } from './oracles.js'
import { runProgram } from './server-user.js'

/** One sample. */
export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

/** Reads the metrics of files. */
export type MetricsReader = (files: readonly string[]) => Promise<Sample[]>

const PYTHON = path.join(ROOT, '.cache', 'awscli', 'bin', 'python')
const SCRIPT = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
samples = []
for path in sys.argv[1:]:
    with open(path, encoding='utf-8') as file:
        for family in text_string_to_metric_families(file.read()):
            assert family.type == 'gauge' and family.documentation, family
            samples += [{'name': s.name, 'labels': s.labels, 'value': s.value} for s in family.samples]
print(json.dumps(samples))
`

/** The reader for a test that cannot do without; where there is none the test is skipped and returns. */
export async function requireMetricsReader(test: Skippable): Promise<MetricsReader | undefined> {
  const found =
    existsSync(PYTHON) && (await runProgram(PYTHON, ['-c', 'import prometheus_client.parser'])).exitCode === 0
  if (!found) {
    const reason = `prometheus_client is not installed: run "python3 -m venv .cache/awscli", and pip install as .ci/run does`
    if (process.env['PGSLUICE_REQUIRE_ORACLES'] === '1') throw new Error(reason)
    test.skip(reason)
    return undefined
  }
  return async (files) => {
    const { exitCode, stdout, stderr } = await runProgram(PYTHON, ['-c', SCRIPT, ...files])
    if (exitCode !== 0) throw new Error(`prometheus_client refuses ${files.join(', ')}: ${stderr}`)
    return JSON.parse(stdout) as Sample[]
  }
}
