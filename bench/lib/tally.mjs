/** Counts starts and ends by task, in one worker process. */
export const newTally = (tasks) => ({
  tasks,
  starts: new Uint8Array(tasks),
  ends: new Uint8Array(tasks),
  started: 0,
  firstStartMs: undefined,
  cpu: undefined,
  loop: undefined,
})

const countOf = (counts, test) => counts.reduce((sum, count) => sum + (test(count) ? 1 : 0), 0)

const summed = (tallies, key) => {
  const [first, ...others] = tallies.map((tally) => tally[key])
  const sums = first.slice()
  for (const counts of others) for (const [index, count] of counts.entries()) sums[index] += count
  return sums
}

/** The tallies of several processes as one report. */
export const reportOf = (tallies) => {
  const starts = summed(tallies, 'starts')
  const ends = summed(tallies, 'ends')
  const busy = tallies.map(({ loopBusy }) => loopBusy).filter((share) => share !== undefined)
  return {
    firstStartMs: Math.min(...tallies.map(({ firstStartMs }) => firstStartMs ?? Number.POSITIVE_INFINITY)),
    neverStarted: countOf(starts, (count) => count === 0),
    startedTwice: countOf(starts, (count) => count > 1),
    ended: ends.reduce((sum, count) => sum + count, 0),
    endedTwice: countOf(ends, (count) => count > 1),
    cpuMicros: tallies.reduce((sum, { cpuMicros }) => sum + cpuMicros, 0),
    loopBusy: busy.length === 0 ? undefined : Math.max(...busy),
  }
}
