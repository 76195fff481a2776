import type { TakePlan } from '../../src/store/control-reader.ts'
import type { ControlStream } from '../../src/store/control-streams.ts'

/** A read of at most `budget` entries, the streams sharing it evenly. */
export const atMost = (budget: number, streams: readonly ControlStream[]): TakePlan => ({
  ...{ budget, streams },
  steps: [{ first: 0, count: streams.length, most: budget }],
})
