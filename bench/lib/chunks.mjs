import { nowMs } from './clock.mjs'
import { percentile } from './stats.mjs'

const TOKEN = ' token'

/** What a task says: its chunk's number, when it said it, and a word. */
const chunkOf = (number) => `${number} ${nowMs().toFixed(3)}${TOKEN}`

/** What was said, token by token, where several came as one chunk. */
export const tokensOf = (text) => text.split(/(?<= token)/)

/** Says `count` chunks by `emit(text)`, so many at a time without an answer. */
export const speak = async ({ count, window }, emit) => {
  const answers = []
  for (let number = 0; number < count; number++) {
    await answers[number % window]
    answers[number % window] = emit(chunkOf(number))
  }
  await Promise.all(answers)
}

/** Fine enough to see a bend, wide enough that the bursts in which chunks arrive do not show. */
const SLICES = 20
const sliceAt = (heard, slice) => Math.floor((heard * slice) / SLICES)

const rateOf = (times, from, to) => ((to - from) / (times[to - 1] - times[from])) * 1_000

/** Checks what the readers of all sessions hear: each chunk once, in order, then one end. */
export const newHearing = (sessions, count) => {
  const next = new Uint32Array(sessions)
  const ends = new Uint8Array(sessions)
  const times = new Float64Array(sessions * count)
  const delays = new Float64Array(sessions * count)
  let heard = 0
  let ended = 0
  let repeated = 0
  let complete
  const completed = new Promise((resolve) => {
    complete = resolve
  })
  return {
    completed,
    onChunk: (session, text) => {
      const [number, saidMs] = text.split(' ', 2)
      // A gap shows as lost in the end, since what is missing never comes in its turn.
      if (Number(number) < next[session]) repeated += 1
      if (Number(number) !== next[session]) return
      next[session] += 1
      times[heard] = nowMs()
      delays[heard] = times[heard] - Number(saidMs)
      heard += 1
    },
    onDone: (session) => {
      ends[session] += 1
      ended += 1
      if (ends[session] > 1) repeated += 1
      if (ended === sessions) complete()
    },
    report: () => {
      const all = times.subarray(0, heard)
      const sorted = delays.subarray(0, heard).sort()
      const tenth = Math.floor(heard / 10)
      return {
        rate: rateOf(all, 0, heard),
        firstRate: rateOf(all, 0, tenth),
        lastRate: rateOf(all, heard - tenth, heard),
        rates: Array.from({ length: SLICES }, (_, slice) =>
          rateOf(all, sliceAt(heard, slice), sliceAt(heard, slice + 1)),
        ),
        ...{ p50: percentile(sorted, 50), p99: percentile(sorted, 99), p999: percentile(sorted, 99.9) },
        lost: sessions * count - heard + ends.filter((count) => count === 0).length,
        repeated,
      }
    },
  }
}
