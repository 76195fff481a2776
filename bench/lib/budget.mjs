const better = ({ atLeast }, { min, max }) => (atLeast === undefined ? min : max)

/** Noise only ever makes a figure worse, so the best round of both sides is what a limit is held against. */
const heldOf = (threshold, row, other) => {
  const figure = row.figures[threshold.figure]
  if (figure === undefined) return undefined
  if (threshold.times === undefined) return better(threshold, figure)
  const base = other?.figures[threshold.figure]
  return base && better(threshold, figure) / better(threshold, base)
}

const judge = (threshold, rowOf) => {
  const { figure, atLeast, atMost, times } = threshold
  const row = rowOf(threshold.row)
  if (row === undefined) return 'not measured'
  if (row.voided.length > 0) return `void (${row.voided[0]})`
  const value = heldOf(threshold, row, rowOf(times))
  if (value === undefined) return `no ${figure}${times ? ` of it or of ${times}` : ''}`
  const text = `${figure} is ${value.toFixed(2)}${times ? ` × that of ${times}` : ''}`
  if (value < atLeast) return `${text}, at least ${atLeast} is asked for`
  if (value > atMost) return `${text}, at most ${atMost} is allowed`
  return undefined
}

/** The thresholds broken by these groups, as `{ group, threshold, sentence }`. Groups which were not measured are left out. */
export const brokenBudgets = (groups, thresholds) =>
  thresholds.flatMap((threshold) => {
    const group = groups.find(({ id }) => id === threshold.group)
    if (group === undefined) return []
    const fault = judge(threshold, (wanted) => group.summaries.find(({ id }) => id === wanted))
    return fault === undefined ? [] : [{ group, threshold, sentence: `${threshold.group} ${threshold.row}: ${fault}` }]
  })
