import type { Desk } from './desk.ts'
import { type Column, tableLines } from './table.ts'

/** Prints a listing: a table for people, one JSON object per line for programs. */
export function printRows<Row>(
  { print, remark, paint, width }: Desk,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  options: {
    readonly json: true | undefined
    /** What to say beside an empty listing. */
    readonly empty: string
  },
): void {
  if (options.json) {
    for (const row of rows) print(JSON.stringify(row))
  } else if (rows.length === 0) {
    remark(options.empty)
  } else {
    const heading = (text: string) => paint('bold', text)
    for (const line of tableLines(columns, rows, { width, heading })) print(line)
  }
}
