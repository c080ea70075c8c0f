/**
 * All that reading a configuration file uses of yaml: the build bundles this file with just that
 * (scripts/bundle-libraries.mjs), as every start of a command loads it.
 */
export { isMap, isScalar, LineCounter, parseDocument } from 'yaml'
