/**
 * Writes the parts of docs/ that the program can tell (`npm run build && npm run build:test` before):
 *
 *   node build/scripts/generate-docs.js
 *
 * test/unit/docs.test.ts fails while they are not what this writes.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { ROOT } from '../test/support/oracles.js'
import { renderManual } from './docs/manual.js'
import { renderCommands, renderConfiguration, renderFileSchema } from './docs/render.js'

const configuration = path.join(ROOT, 'docs', 'configuration.md')
writeFileSync(path.join(ROOT, 'docs', 'commands.md'), await renderCommands())
writeFileSync(configuration, await renderConfiguration(readFileSync(configuration, 'utf8')))
writeFileSync(path.join(ROOT, 'docs', 'pgsluice.1'), renderManual(readFileSync(path.join(ROOT, 'README.md'), 'utf8')))
writeFileSync(path.join(ROOT, 'docs', 'schemas', 'pgsluice-yaml.schema.json'), await renderFileSchema())
