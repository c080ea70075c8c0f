/**
 * Tar headers: written by tar-stream, whose output every tar reads, or byte for byte as it does (plain-tar-header.ts);
 * read back just enough to check that what follows is what the index says.
 *
 * Only headers pass through tar-stream. Bodies go from the read buffer to the compressor without it: reusing a buffer
 * that was handed to a pack stream corrupts it, and a copy of every byte costs what compression costs. A name that is
 * not UTF-8 would lose its bytes in a string, and ids above 2,097,151 are clamped by it; a pax record of ours carries
 * both (F10, F11).
 */
import tar from 'tar-stream'
import { BLOCK, LARGEST_ID, plainTarHeader } from './plain-tar-header.js'

/** What a header says of a member. Names are bytes. */
export interface TarMember {
  /** Path relative to PGDATA. */
  name: Buffer
  type: 'file' | 'directory'
  /** Bytes of the body; 0 for a directory. */
  size: number
  /** Permission bits. */
  mode: number
  uid: number
  gid: number
  mtimeMs: number
}

/** ustar holds times up to 2^31 - 1 in tar-stream (a 32-bit shift); later ones are written as this, never as garbage. */
const LARGEST_TIME_MS = (2 ** 31 - 1) * 1000

/**
 * Header blocks of a member, pax records included: a multiple of 512 bytes. At once for a plain header: no promise each, and
 * with `room`, a block that is used again, no allocation.
 */
export function tarHeader(member: TarMember, room?: Buffer): Buffer | Promise<Buffer> {
  const { name, type, size, mode, uid, gid } = member
  const time = Math.min(Math.max(member.mtimeMs, 0), LARGEST_TIME_MS)
  const plain = { name, type, size, mode, uid, gid, mtime: Math.floor(time / 1000) }
  return plainTarHeader(plain, room) ?? packedTarHeader(member)
}

/** The same by tar-stream, whatever the member needs. */
export async function packedTarHeader(member: TarMember): Promise<Buffer> {
  const pax: Record<string, string> = {}
  if (member.uid > LARGEST_ID) pax['uid'] = String(member.uid)
  if (member.gid > LARGEST_ID) pax['gid'] = String(member.gid)
  const fields = {
    type: member.type,
    size: member.size,
    mode: member.mode,
    uid: member.uid,
    gid: member.gid,
    mtime: new Date(Math.min(Math.max(member.mtimeMs, 0), LARGEST_TIME_MS)),
  }
  const name = member.name.toString('utf8')
  if (Buffer.from(name, 'utf8').equals(member.name)) {
    return encode({ ...fields, name, ...(Object.keys(pax).length > 0 && { pax }) })
  }
  const records = Object.entries(pax).map(([key, value]) => paxRecord(key, Buffer.from(value)))
  records.push(paxRecord('hdrcharset', Buffer.from('BINARY')), paxRecord('path', member.name))
  const placeholder = member.name
    .toString('latin1')
    .replace(/[^\x20-\x7e]/g, '_')
    .slice(-90)
  return Buffer.concat([await paxHeader(records), await encode({ ...fields, name: placeholder })])
}

/** Zero bytes that follow a body of `size` bytes, up to the next block. */
export function tarPadding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK
}

/** Bytes of the two zero blocks that end a tar. */
export const TAR_END_BYTES = 2 * BLOCK

/** Most bytes that {@link tarHeader} can return for a name of that many bytes (pax header, its records, header). */
export function tarHeaderBound(nameBytes: number): number {
  return nameBytes <= 99 ? 3 * BLOCK : 4 * BLOCK + nameBytes
}

/**
 * What is wrong with a header that should announce a regular file of `size` bytes, or undefined. `block` is the last
 * header block before the body. The name is not read: the index names the file, the hash proves its content.
 */
export function tarHeaderProblem(block: Uint8Array, size: number): string | undefined {
  if (block.length !== BLOCK) return 'its header is cut off'
  const header = Buffer.from(block.buffer, block.byteOffset, block.length)
  let sum = 8 * 32
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += header[i] ?? 0
  if (sum !== parseInt(header.toString('latin1', 148, 156), 8)) return 'its header has a wrong checksum'
  const type = header[156]
  if (type !== 0x30 && type !== 0) return 'its header does not announce a regular file'
  const announced =
    (header[124] ?? 0) & 0x80 ? Number(header.readBigUInt64BE(128)) : parseInt(header.toString('latin1', 124, 136), 8)
  return announced === size ? undefined : `its header announces ${announced} bytes instead of ${size}`
}

/** The fields that tar-stream needs; what is missing it fills in itself, though its types ask for all of them. */
type HeaderFields = Pick<tar.Header, 'name' | 'size' | 'mode' | 'mtime'> &
  Partial<Pick<tar.Header, 'uid' | 'gid'>> & {
    type: 'file' | 'directory' | 'pax-header'
    pax?: Record<string, string>
  }

async function encode(header: HeaderFields): Promise<Buffer> {
  const pack = tar.pack()
  pack.on('error', () => undefined) // the half-written pack is thrown away, its complaint with it
  pack.entry(header as tar.Header)
  const chunks: Buffer[] = []
  let chunk = pack.read() as Buffer | null
  if (chunk === null) {
    // tar-stream opens the entry a tick later, then pushes all of its header at once
    await new Promise<void>((resolve) => {
      pack.once('readable', () => {
        resolve()
      })
    })
    chunk = pack.read() as Buffer | null
  }
  for (; chunk !== null; chunk = pack.read() as Buffer | null) chunks.push(chunk)
  pack.destroy()
  return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)
}

async function paxHeader(records: readonly Buffer[]): Promise<Buffer> {
  const body = Buffer.concat(records)
  const header = await encode({
    name: 'PaxHeader',
    type: 'pax-header',
    size: body.length,
    mode: 0o644,
    mtime: new Date(0),
  })
  // tar-stream adds the padding of a body that it takes to be empty here: only its header block is ours
  return Buffer.concat([header.subarray(0, BLOCK), body, Buffer.alloc(tarPadding(body.length))])
}

/** `<length> <key>=<value>\n`, where the length counts its own digits. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = key.length + value.length + 3
  let length = rest + String(rest).length
  if (rest + String(length).length !== length) length = rest + String(length).length
  return Buffer.concat([Buffer.from(`${length} ${key}=`), value, Buffer.from('\n')])
}
