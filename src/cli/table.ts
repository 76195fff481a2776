/** A column: its heading and the cell of a row, as plain text; `right` for numbers. */
export interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => string
  readonly align?: 'right'
}

/** How wide the terminal is, and how headings look; both unknown when nobody watches. */
export interface TableLook {
  readonly width?: number
  readonly heading?: (text: string) => string
}

const GAP = '  '
const MOST_NARROW = 8
// East Asian wide characters and emoji take two cells of a terminal.
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u

/** Rows as lines: columns as wide as they need, only the last one cut to the terminal. */
export function tableLines<Row>(columns: readonly Column<Row>[], rows: readonly Row[], look: TableLook = {}): string[] {
  const { heading = (text) => text } = look
  const cells = rows.map((row) => columns.map(({ cell }) => printable(cell(row))))
  const table = [columns.map(({ title }) => title), ...cells]
  // Not by `Math.max(...)`, which takes some hundred thousand at most.
  const widths = columns.map((_, index) =>
    table.reduce((most, line) => Math.max(most, cellWidth(line[index] ?? '')), 0),
  )
  const last = lastWidth(widths, look.width)
  return table.map((line, number) => {
    const padded = line.map((text, index) => {
      const isLast = index === columns.length - 1
      return pad(isLast ? cut(text, last) : text, isLast ? 0 : (widths[index] ?? 0), columns[index]?.align)
    })
    const text = padded.join(GAP).trimEnd()
    return number === 0 ? heading(text) : text
  })
}

/** A text that neither moves the cursor nor breaks the line. */
export function printable(text: string): string {
  return text.replace(/\r?\n|\r/g, '⏎').replace(/\p{Cc}/gu, '�')
}

function lastWidth(widths: readonly number[], available: number | undefined): number {
  if (available === undefined) return Number.POSITIVE_INFINITY
  const before = widths.slice(0, -1).reduce((sum, width) => sum + width + GAP.length, 0)
  return Math.max(MOST_NARROW, available - before)
}

function cellWidth(text: string): number {
  return [...text].reduce((sum, character) => sum + (WIDE.test(character) ? 2 : 1), 0)
}

function pad(text: string, width: number, align: 'right' | undefined): string {
  const space = ' '.repeat(Math.max(0, width - cellWidth(text)))
  return align === 'right' ? space + text : text + space
}

function cut(text: string, width: number): string {
  if (cellWidth(text) <= width) return text
  let used = 1
  let kept = ''
  for (const character of text) {
    used += cellWidth(character)
    if (used > width) break
    kept += character
  }
  return `${kept}…`
}
