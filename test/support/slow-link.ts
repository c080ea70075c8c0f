/**
 * A slow and far link to an S3 endpoint: an HTTP proxy that answers late, passes so many bytes a second over all
 * connections, and loses a fraction of the requests. Which ones is decided by a seed.
 */
import { once } from 'node:events'
import http from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { RateLimit, shareRate } from '#src/streams/rate-limit.js'

/** What the link is like. */
export interface SlowLinkOptions {
  /** URL of the endpoint behind it. */
  target: string
  /** From a request to its answer, besides what the endpoint takes. */
  latencyMs: number
  /** Of all connections together, in each direction. */
  bytesPerSecond: number
  /** Most bytes on their way in one connection: it then moves no more than that in each latency, as TCP does. */
  windowBytes?: number
  /** Fraction of requests that fail: with 500, with 503, or with a reset connection. Default 0. */
  failing?: number
  seed?: number
}

/** What has passed for objects of the pattern that was asked for. */
export interface Passed {
  bytes: number
  /** From the first request to the end of the last answer. */
  seconds: number
}

/** See the head of this file. */
export class SlowLink {
  readonly #options: SlowLinkOptions
  readonly #server: Server
  readonly #agent = new http.Agent({ keepAlive: true })
  readonly #up: RateLimit
  readonly #down: RateLimit
  readonly #windows = new WeakMap<Socket, RateLimit>()
  #random: number
  #counted: { pattern: RegExp; bytes: number; from: number; to: number } | undefined
  failures = 0

  static async start(options: SlowLinkOptions): Promise<SlowLink> {
    const link = new SlowLink(options)
    link.#server.listen(0, '127.0.0.1')
    await once(link.#server, 'listening')
    return link
  }

  private constructor(options: SlowLinkOptions) {
    this.#options = options
    this.#random = options.seed ?? 1
    const rate = shareRate(options.bytesPerSecond)
    this.#up = new RateLimit(rate, 'reads')
    this.#down = new RateLimit(rate, 'transfers')
    this.#server = http.createServer((request, response) => {
      this.#handle(request, response).catch(() => {
        response.destroy() // whoever went away is none of the link's business
      })
    })
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Counts what passes for such paths from now on, until the function that it returns is called. */
  count(pattern: RegExp): () => Passed {
    const counted = { pattern, bytes: 0, from: 0, to: 0 }
    this.#counted = counted
    return () => ({ bytes: counted.bytes, seconds: (counted.to - counted.from) / 1000 })
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    this.#agent.destroy()
    await once(this.#server, 'close')
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { latencyMs, target } = this.#options
    const counted = this.#counted?.pattern.test(request.url ?? '') ? this.#counted : undefined
    if (counted?.from === 0) counted.from = performance.now()
    const pass = async (bytes: number, limit: RateLimit): Promise<void> => {
      await Promise.all([limit.take(bytes), this.#windowOf(request.socket)?.take(bytes)])
      if (!counted) return
      counted.bytes += bytes
      counted.to = performance.now()
    }
    request.on('error', () => undefined)
    response.on('error', () => undefined)
    const failure = this.#failure()
    await delay(latencyMs)
    if (failure === 'reset') {
      request.socket.resetAndDestroy()
      return
    }
    if (failure !== undefined) {
      for await (const chunk of request) await pass((chunk as Buffer).length, this.#up)
      response.writeHead(failure, { 'content-type': 'application/xml' })
      response.end(`<Error><Code>${failure === 503 ? 'SlowDown' : 'InternalError'}</Code></Error>`)
      return
    }
    const { method, url, headers } = request
    const onward = http.request(target + (url ?? ''), { method: method ?? 'GET', headers, agent: this.#agent })
    onward.on('error', () => response.destroy())
    response.on('close', () => {
      if (!response.writableFinished) onward.destroy()
    })
    const answered = once(onward, 'response') as Promise<[IncomingMessage]>
    answered.catch(() => undefined)
    for await (const chunk of request) {
      await pass((chunk as Buffer).length, this.#up)
      if (!onward.write(chunk)) await once(onward, 'drain')
    }
    onward.end()
    const [answer] = await answered
    response.writeHead(answer.statusCode ?? 500, answer.headers)
    for await (const chunk of answer) {
      await pass((chunk as Buffer).length, this.#down)
      if (!response.write(chunk)) await once(response, 'drain')
    }
    response.end()
    if (counted) counted.to = performance.now()
  }

  #windowOf(socket: Socket): RateLimit | undefined {
    const { windowBytes, latencyMs } = this.#options
    if (windowBytes === undefined) return undefined
    let limit = this.#windows.get(socket)
    if (!limit) {
      limit = new RateLimit(shareRate((windowBytes / Math.max(latencyMs, 1)) * 1000), 'transfers')
      this.#windows.set(socket, limit)
    }
    return limit
  }

  #failure(): 500 | 503 | 'reset' | undefined {
    if (this.#next() >= (this.#options.failing ?? 0)) return undefined
    this.failures += 1
    return ([500, 503, 'reset'] as const)[Math.floor(this.#next() * 3)]
  }

  /** Between 0 and 1 (mulberry32). */
  #next(): number {
    this.#random = (this.#random + 0x6d2b79f5) | 0
    let bits = Math.imul(this.#random ^ (this.#random >>> 15), 1 | this.#random)
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
}
