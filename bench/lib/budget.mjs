import { FLOOR } from './contenders.mjs'

const figureOf = ({ ratio, figures }, name) => (name === 'ratio' ? ratio : figures[name]?.median)

const judge = (row, floor, { figure, atLeast, atMost, orTimesFloor }) => {
  if (row === undefined) return 'not measured'
  if (row.voided.length > 0) return `void (${row.voided[0]})`
  const value = figureOf(row, figure)
  if (value === undefined) return 'no figure'
  if (atLeast !== undefined && value < atLeast) return `${figure} ${value.toFixed(2)} is below ${atLeast}`
  // A busy machine slows everybody: what stays near the bare loop is not the SDK's fault.
  if (orTimesFloor !== undefined && floor !== undefined && value <= orTimesFloor * figureOf(floor, figure))
    return undefined
  if (atMost !== undefined && value > atMost) return `${figure} ${value.toFixed(2)} is above ${atMost}`
  return undefined
}

/** The thresholds broken by this run, each as a sentence. Groups which were not asked for are left out. */
export const brokenBudgets = (groups, thresholds) =>
  thresholds
    .filter(({ group }) => groups.some(({ id }) => id === group))
    .flatMap((threshold) => {
      const { summaries } = groups.find(({ id }) => id === threshold.group)
      const rowOf = (wanted) => summaries.find(({ id }) => id === wanted)
      const fault = judge(rowOf(threshold.row), rowOf(FLOOR), threshold)
      return fault === undefined ? [] : [`${threshold.group} ${threshold.row}: ${fault}`]
    })
