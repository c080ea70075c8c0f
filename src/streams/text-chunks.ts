/**
 * Text as UTF-8 in chunks, all in the same memory: of an index of a million files the chunks would otherwise be 200 MB, of
 * which the collector leaves up to 64 lying about.
 */

const CHARACTERS = 64 * 1024
/** Most bytes that a UTF-16 unit becomes. */
const BYTES = 3

/** Chunks of about 64 KiB; each is overwritten when the next is asked for. */
export function* textChunks(texts: Iterable<string>): Generator<Buffer, void, undefined> {
  let room = Buffer.allocUnsafeSlow(0)
  let text = ''
  const encoded = (): Buffer => {
    if (text.length * BYTES > room.length) room = Buffer.allocUnsafeSlow(text.length * BYTES)
    const bytes = room.subarray(0, room.write(text))
    text = ''
    return bytes
  }
  for (const next of texts) {
    text += next
    if (text.length >= CHARACTERS) yield encoded()
  }
  if (text !== '') yield encoded()
}
