/**
 * Lets go of what was received.
 *
 * Node.js reads a socket into a new 64 KiB of memory each time, and all that holds it is an object of a few dozen bytes:
 * until the collector comes by, which goes by the size of the objects, 30 MB and more of each thread have piled up, and
 * what it frees is given back by a thread of V8's, late on a busy machine. A restore took up to 250 MiB for that (O8).
 * What is transferred is gone from here at once, and freed at once where nobody is to receive it.
 */
let nobody: { postMessage: (message: undefined, transfer: [ArrayBuffer]) => void } | undefined

/** Passes on what a storage sends. Each piece is empty, and its memory free, when the next is asked for. */
export async function* lettingGo(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of pieces) {
    yield piece
    letGo(piece)
  }
}

/**
 * Frees the memory of a piece that nobody looks at any more: it is empty then. One that is only a part of some memory is
 * left to the collector, as others may be in the rest of it.
 */
export function letGo(piece: Uint8Array): void {
  const { buffer } = piece
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength === 0 || piece.byteLength < buffer.byteLength) return
  nobody ??= portWithoutEnd()
  nobody.postMessage(undefined, [buffer])
}

/** PostMessage() of Node.js takes what is transferred out of its sender, and a closed port drops it. */
function portWithoutEnd(): NonNullable<typeof nobody> {
  const { port1, port2 } = new MessageChannel()
  port2.close()
  port1.close()
  return port1
}
