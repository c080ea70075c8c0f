/** --max-rate of a running command: at first what the settings say, then whatever they say when they are read again. */
import type { Settings } from '../config/settings.js'
import { changeRate, shareRate, type SharedRate } from '../streams/rate-limit.js'
import type { CommandContext } from './context.js'

/** The rate for all threads; `stop` ends following. Every new reading is reported, also one that changes nothing. */
export function followRate(
  settings: Settings,
  { report, onSettingsReread }: CommandContext,
): { rate: SharedRate; stop: () => void } {
  const rate = shareRate(settings.maxBytesPerSecond)
  const stop = onSettingsReread?.(({ maxBytesPerSecond }) => {
    changeRate(rate, maxBytesPerSecond)
    report({ type: 'rate-changed', bytesPerSecond: maxBytesPerSecond ?? null })
  })
  return { rate, stop: stop ?? (() => undefined) }
}
