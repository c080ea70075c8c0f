/** Aligned columns without lines, for results on stdout. */
import Table from 'cli-table3'

const PLAIN = {
  chars: {
    top: '',
    'top-mid': '',
    'top-left': '',
    'top-right': '',
    bottom: '',
    'bottom-mid': '',
    'bottom-left': '',
    'bottom-right': '',
    left: '',
    'left-mid': '',
    mid: '',
    'mid-mid': '',
    right: '',
    'right-mid': '',
    middle: '  ',
  },
  style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
}

/** Rows of cells as text; the columns of `rightAligned` hold numbers. */
export function table(rows: string[][], rightAligned: number[] = []): string {
  const colAligns = (rows[0] ?? []).map((_, index) =>
    rightAligned.includes(index) ? ('right' as const) : ('left' as const),
  )
  const made = new Table({ ...PLAIN, colAligns })
  made.push(...rows)
  return made
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}
