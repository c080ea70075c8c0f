/** Collects what is wrong with a backup as data: one damaged object never stops the look at the others (V7). */
import { NotFoundError, ToolError } from '../errors.js'
import type { Fault } from './proofs.js'

/** A place in an object, told beside what is wrong there. */
export class PlacedDamage extends ToolError {
  readonly place: string

  constructor(place: string, problem: string, cause?: unknown) {
    super('damaged', problem, { cause })
    this.place = place
  }
}

/** Faults in the order in which they were found. An object that has one gets no other: that would be its follow-up. */
export class FaultList {
  readonly faults: Fault[] = []
  readonly #keys = new Set<string>()

  has(key: string): boolean {
    return this.#keys.has(key)
  }

  add(key: string, problem: string, place?: string): void {
    this.addAll([{ key, ...(place !== undefined && { place }), problem }])
  }

  /** All of one look at one object, which is free of follow-ups already. */
  addAll(faults: readonly Fault[]): void {
    const fresh = faults.filter(({ key }) => !this.has(key))
    this.faults.push(...fresh)
    for (const { key } of fresh) this.#keys.add(key)
  }

  /** Does `work`; what it finds damaged or missing is a fault of `key`, and what kept it from looking an error. */
  async guard<T>(key: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof NotFoundError) this.add(key, 'it is missing')
      else if (error instanceof ToolError && error.code === 'damaged')
        this.add(key, problemOf(key, error), error instanceof PlacedDamage ? error.place : undefined)
      else throw error
      return undefined
    }
  }
}

/** The message without the name of the object, which is told beside it. */
function problemOf(key: string, { message }: ToolError): string {
  return message.replace(`"${key}" is damaged: `, '')
}
