/** The published JSON schemas, and a judge that holds documents to them. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { ROOT } from './oracles.js'

const DIRECTORY = path.join(ROOT, 'docs', 'schemas')
const SUFFIX = '.schema.json'

/** A schema, as far as tests look into it. */
export interface Schema {
  $schema?: string
  $id?: string
  title?: string
  description?: string
  [keyword: string]: unknown
}

/** Every schema by its name (`backup-record`). */
export const SCHEMAS: ReadonlyMap<string, Schema> = new Map(
  readdirSync(DIRECTORY)
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => [
      file.slice(0, -SUFFIX.length),
      JSON.parse(readFileSync(path.join(DIRECTORY, file), 'utf8')) as Schema,
    ]),
)

// Two of its strict rules want a schema to repeat what a surrounding one says.
const ajv = new Ajv2020({
  ...{ strict: true, strictTypes: false, strictRequired: false, allErrors: true },
  schemas: [...SCHEMAS.values()],
})

/** What a schema has against a document; empty where it is valid. */
export function problemsOf(name: string, document: unknown): string[] {
  const validate = ajv.getSchema(`urn:pgsluice:schema:${name}`)
  if (validate === undefined) throw new Error(`there is no schema "${name}"`)
  if (validate(document) === true) return []
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath || '/'} ${message ?? ''}`)
}

/** Fails unless a document is valid. */
export function assertValid(name: string, document: unknown): void {
  assert.deepEqual(problemsOf(name, document), [], `${name}: ${JSON.stringify(document).slice(0, 2000)}`)
}
