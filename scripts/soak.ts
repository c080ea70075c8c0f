/**
 * Kills push, fetch and PostgreSQL at random moments for as long as it is told, and proves the archive afterwards.
 *
 *   npm run soak -- [SECONDS] [SEED]      default: 600 seconds, a random seed, which is printed
 */
import { randomInt } from 'node:crypto'
import { availableMajors } from '../test/support/postgres-binaries.js'
import { soak } from '../test/support/soak.js'

const [seconds = '600', seed = String(randomInt(2 ** 31))] = process.argv.slice(2)
console.log(`${seconds} s, seed ${seed}`)
const { kills, files, commits } = await soak({
  major: availableMajors().at(-1)!,
  seconds: Number(seconds),
  seed: Number(seed),
})
console.log(`killed: ${JSON.stringify(kills)}`)
console.log(`${files} files are in the archive once, with their content; ${commits} acknowledged commits are there`)
