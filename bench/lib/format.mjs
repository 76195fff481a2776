const grouped = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

export const whole = (number) => grouped.format(number)
export const decimal = (digits) => (number) => number.toFixed(digits)
export const percent = (share) => `${Math.round(share * 100)} %`
export const megabytes = (bytes) => (bytes / 1e6).toFixed(1)

/** A padded text table which is valid Markdown too; the first column is text, the others are numbers. */
export const table = (titles, rows) => {
  const widths = titles.map((title, column) => Math.max(title.length, 3, ...rows.map((row) => row[column].length)))
  const line = (cells) =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join(' | ')} |`
  const rule = `| ${widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`
  return [line(titles), rule, ...rows.map(line)].join('\n')
}
