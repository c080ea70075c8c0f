/**
 * The JSON documents of a repository: versioned, and closed by a checksum of their own (format rules 3 and 8).
 *
 * `checksum` is the last member: the SHA-256 of all bytes before its opening quotation mark. A document of a newer major
 * version, or one that requires a feature unknown here, is refused; other unknown members are kept and ignored.
 */
import { createHash } from 'node:crypto'
import { reasonOf, ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'

/** Version of the format that is written. Readers take every 1.x. */
const FORMAT_VERSION = '1.0'

/** Members that every document has. */
export interface DocumentHead {
  formatVersion: string
  requires: string[]
}

/** What a new document begins with. */
export function documentHead(): DocumentHead {
  return { formatVersion: FORMAT_VERSION, requires: [] }
}

/** The text of a document, checksum included. */
export function formatDocument(document: object): string {
  const open = JSON.stringify(document, null, 2).slice(0, -2) + ',\n  '
  return `${open}"checksum": "${sha256(open)}"\n}\n`
}

/** Parses a document; throws ToolError `damaged` where its checksum or its form is wrong, `configuration` where it is too new. */
function parseDocument(text: string, key: string): DocumentHead & Record<string, unknown> {
  const at = text.lastIndexOf('"checksum": "')
  const checksum = at < 0 ? undefined : /^"checksum": "([0-9a-f]{64})"\n\}\n$/.exec(text.slice(at))?.[1]
  if (checksum === undefined) throw new ToolError('damaged', `"${key}" is damaged: it does not end with its checksum`)
  if (checksum !== sha256(text.slice(0, at)))
    throw new ToolError('damaged', `"${key}" is damaged: its checksum is wrong`)
  let document: DocumentHead & Record<string, unknown>
  try {
    document = JSON.parse(text) as typeof document
  } catch (cause) {
    throw new ToolError('damaged', `"${key}" is damaged: ${reasonOf(cause)}`, { cause })
  }
  const { formatVersion, requires } = document as { formatVersion: unknown; requires: unknown }
  if (typeof formatVersion !== 'string' || !/^1\.\d+$/.test(formatVersion)) {
    throw new ToolError(
      'configuration',
      `"${key}" has format version ${String(formatVersion)}; this program reads version 1`,
      {
        hint: 'A newer pgsluice wrote it: use that one.',
      },
    )
  }
  if (!Array.isArray(requires) || requires.length > 0) {
    throw new ToolError(
      'configuration',
      `"${key}" requires features that this program does not know: ${String(requires)}`,
      {
        hint: 'A newer pgsluice wrote it: use that one.',
      },
    )
  }
  return document
}

/** Reads and parses a document. Rejects with NotFoundError where there is none. */
export async function readDocument(
  storage: Storage,
  key: string,
  signal?: AbortSignal,
): Promise<DocumentHead & Record<string, unknown>> {
  return parseDocument((await readSmall(storage, key, signal)).toString('utf8'), key)
}

/** Reads a small object whole; refuses one above 64 MiB, which none of ours is. */
export async function readSmall(storage: Storage, key: string, signal?: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of await storage.get(key, { signal })) {
    chunks.push(chunk as Buffer)
    size += (chunk as Buffer).length
    if (size > 64 * 1024 * 1024) throw new ToolError('damaged', `"${key}" is far larger than it can be`)
  }
  return Buffer.concat(chunks)
}

function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex')
}
