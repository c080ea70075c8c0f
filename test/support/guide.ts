/** The blocks of a page of documentation, and the markers for tests between them, in their order. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { ROOT } from './oracles.js'

/** A fenced block; `line` is that of its first line within the page. */
export interface Block {
  language: string
  text: string
  line: number
}

/** What a test is told in a page: `<!-- test: … -->`. */
export interface Marker {
  marker: string
}

/** Reads a page, such as `docs/getting-started.md`. */
export function readGuide(page: string): (Block | Marker)[] {
  const text = readFileSync(path.join(ROOT, page), 'utf8')
  return [...text.matchAll(/^<!-- test: (.*) -->$|^```(.*)\n([^]*?)^```$/gm)].map((match) => {
    const [, marker, language = '', content = ''] = match
    if (marker !== undefined) return { marker }
    return { language, text: content, line: text.slice(0, match.index).split('\n').length + 1 }
  })
}
