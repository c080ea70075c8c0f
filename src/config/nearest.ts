/** "Did you mean": the known name that a misspelt one is nearest to. */

/** The nearest of `known`, or undefined where none is near: more than a third of it would have to be changed. */
export function nearestName(wrong: string, known: readonly string[]): string | undefined {
  const limit = Math.max(1, Math.floor(wrong.length / 3))
  let nearest: { name: string; distance: number } | undefined
  for (const name of known) {
    const distance = editDistance(wrong, name)
    if (distance <= limit && (nearest === undefined || distance < nearest.distance)) nearest = { name, distance }
  }
  return nearest?.name
}

/** Letters to insert, delete, replace or swap with their neighbour (Damerau and Levenshtein). */
function editDistance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) => Array.from({ length: b.length + 1 }, (_, j) => i || j))
  const at = (i: number, j: number): number => rows[i]?.[j] ?? Infinity
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      const distance = Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, replaced, isSwap ? at(i - 2, j - 2) + 1 : Infinity)
      rows[i]?.splice(j, 1, distance)
    }
  }
  return at(a.length, b.length)
}
