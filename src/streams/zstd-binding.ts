/**
 * The native zstd binding, loaded at the first use: commands that compress nothing start without it, and a machine
 * where its install script was blocked gets one clear line rather than a stack.
 */
import { createRequire } from 'node:module'
import type * as Binding from 'zstd-napi/binding.js'
import { ToolError } from '../errors.js'

let loaded: typeof Binding | undefined

/** The low-level binding (`zstd-napi/binding`). Throws ToolError `configuration` where the addon is missing. */
export function zstd(): typeof Binding {
  if (loaded === undefined) {
    try {
      loaded = createRequire(import.meta.url)('zstd-napi/binding.js') as typeof Binding
    } catch (cause) {
      throw new ToolError('configuration', 'could not load the native module of zstd-napi', {
        cause,
        hint: 'Its install script must run once: "npm rebuild zstd-napi" (npm 12: allow it with --allow-scripts=zstd-napi).',
      })
    }
  }
  return loaded
}
