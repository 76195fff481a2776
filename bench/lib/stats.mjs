/** The p-th percentile (0–100) of numbers in ascending order, nearest rank. */
export const percentile = (ascending, p) =>
  ascending[Math.min(ascending.length - 1, Math.max(0, Math.ceil((p / 100) * ascending.length) - 1))]

export const ascending = (numbers) => Float64Array.from(numbers).sort()

export const median = (numbers) => {
  const sorted = ascending(numbers)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Median and range of what the rounds gave; rounds without the figure are left out. */
export const spread = (numbers) => {
  const known = numbers.filter((number) => Number.isFinite(number))
  if (known.length === 0) return undefined
  return { median: median(known), min: Math.min(...known), max: Math.max(...known), rounds: known.length }
}
