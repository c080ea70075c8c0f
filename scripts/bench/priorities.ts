/** Whether a low priority counts on this machine: what the kernel does with it beside the server. */
import { readFileSync, statSync } from 'node:fs'
import type { Friendly } from './results.js'

/** What the kernel says, of the disk that holds `directory`. */
export function priorities(directory: string): Friendly['priorities'] {
  const autogroups = read('/proc/sys/kernel/sched_autogroup_enabled')
  const { dev } = statSync(directory)
  // as makedev(3) packs them, of a device whose major fits into twelve bits
  const number = `${Math.floor(dev / 2 ** 8) % 2 ** 12}:${(dev % 2 ** 8) + Math.floor(dev / 2 ** 20) * 2 ** 8}`
  // a partition has the queue of its disk
  const scheduler = ['', '/..'].map((up) => read(`/sys/dev/block/${number}${up}/queue/scheduler`)).find(Boolean)
  return { autogroups: autogroups?.trim() === '1', ioScheduler: scheduler && chosenOf(scheduler) }
}

/** The one in brackets of `none [mq-deadline] bfq`. */
export function chosenOf(schedulers: string): string | undefined {
  return /\[(.+?)\]/.exec(schedulers)?.[1]
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
