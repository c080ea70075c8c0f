/**
 * Bounds what is in memory of the WAL files in work: all that a file becomes is there until it is stored, which is as much
 * as the file where it does not compress.
 */

/** Half of a segment of the usual size. What compresses becomes less. */
const LARGE_BYTES = 8 * 1024 * 1024

/** Where one file holds much memory, or is taking some, the others wait with taking any. */
export class PushMemory {
  #held: { by: object; released: Promise<void>; release: () => void } | undefined

  /** Resolves when no other holds much. Who has had a turn must {@link release} it, or say with {@link filled} that it may. */
  async turn(by: object): Promise<void> {
    while (this.#held) await this.#held.released
    let release = (): void => undefined
    const released = new Promise<void>((resolve) => (release = resolve))
    this.#held = { by, released, release }
  }

  /** After the first buffer was filled with so many bytes: few let the next one have its turn. */
  filled(by: object, bytes: number): void {
    if (bytes <= LARGE_BYTES) this.release(by)
  }

  /** When nothing is in memory any more, however that came. */
  release(by: object): void {
    if (this.#held?.by !== by) return
    const { release } = this.#held
    this.#held = undefined
    release()
  }
}
