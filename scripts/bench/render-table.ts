/** Tables in Markdown. */

/** One line. */
export function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

/** What stands below the head. */
export function separator(columns: readonly string[]): string {
  return row(columns.map(() => '---'))
}
