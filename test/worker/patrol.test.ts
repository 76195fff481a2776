import { afterEach, expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { Patrol, type PatrolOptions } from '../../src/worker/patrol.ts'
import { memoryLogger } from './harness.ts'

const LONG_MS = 3_600_000
const patrols: Patrol[] = []

function patrol(options: Partial<PatrolOptions> & Pick<PatrolOptions, 'round'>): Patrol {
  const made = new Patrol({ retryMs: () => LONG_MS, complaint: 'it failed', logger: memoryLogger(), ...options })
  patrols.push(made)
  return made
}

afterEach(async () => {
  await Promise.all(patrols.splice(0).map((made) => made.stop()))
})

test('makes round after round, and rests in between as each round says', async () => {
  let rounds = 0
  await patrol({ round: async () => (++rounds < 4 ? 1 : LONG_MS) }).start()
  await waitFor(() => rounds === 4)
})

test('a wake-up cuts a rest short; during a round, the rest after it', async () => {
  const round = deferred()
  let rounds = 0
  const woken = patrol({
    round: async () => {
      rounds += 1
      if (rounds === 2) await round.promise
      return LONG_MS
    },
  })
  await woken.start()
  await waitFor(() => rounds === 1)
  woken.wake()
  await waitFor(() => rounds === 2)
  woken.wake()
  round.resolve()
  await waitFor(() => rounds === 3)
})

test('lives through failures, complains once until it succeeds again, and counts those in a row', async () => {
  const logger = memoryLogger()
  const outcomes = ['fail', 'fail', 'succeed', 'fail', 'end']
  const rests: number[] = []
  await patrol({
    round: async () => {
      const outcome = outcomes.shift()
      if (outcome === 'fail') throw new Error('no luck')
      return outcome === 'end' ? LONG_MS : 0
    },
    retryMs: (failures) => {
      rests.push(failures)
      return 0
    },
    details: { shard: 3 },
    logger,
  }).start()
  await waitFor(() => outcomes.length === 0)
  expect(rests).toEqual([1, 2, 1])
  const complaint = { level: 'warn', fields: { shard: 3, reason: 'no luck' }, message: 'it failed, trying again' }
  expect(logger.lines).toEqual([complaint, complaint])
})

test('stop tells the round under way, waits for it, and cuts the rest short', async () => {
  const events: string[] = []
  const round = deferred()
  const stopped = patrol({
    round: async (signal) => {
      signal.addEventListener('abort', () => events.push('told'))
      await round.promise
      events.push('round')
      return LONG_MS
    },
  })
  await stopped.start()
  const stop = stopped.stop().then(() => events.push('stopped'))
  await waitFor(() => events.includes('told'))
  round.resolve()
  await stop
  expect(events).toEqual(['told', 'round', 'stopped'])
})

test('a round that fails because it is to stop is no complaint', async () => {
  const logger = memoryLogger()
  const stopped = patrol({
    round: (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('closed')))),
    logger,
  })
  await stopped.start()
  await stopped.stop()
  expect(logger.lines).toEqual([])
})
