import { expect, test } from 'vitest'
import type { TakenEntry } from '../../src/store/control-streams.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { Admission } from '../../src/worker/admission.ts'
import { Ahead } from '../../src/worker/ahead.ts'
import { LeaseKeeper } from '../../src/worker/lease-keeper.ts'
import { Slots } from '../../src/worker/slots.ts'
import { memoryLogger } from './harness.ts'

test('of a batch that cannot be begun each slot is given once, also where a part of it was heard of too late', async () => {
  const logger = memoryLogger()
  const slots = new Slots(2)
  const idle = { running: () => 0, onReplaced: () => undefined, onLost: () => undefined, data: () => ({}) as never }
  const keeper = new LeaseKeeper({ capacity: 10, streamKeys: ['k'], redis: {} as never, ...idle, logger })
  const late = performance.now() - 4_000
  const entries = [late, performance.now()].map((askedAt, index) => ({
    ...{ id: `1-${index}`, stream: { key: 'k' }, deliveries: 1, maybeBegun: false, askedAt },
  })) as unknown as TakenEntry[]
  const admission = new Admission({
    ...{ keeper, slots, logger, ahead: new Ahead(5_000), leaseMs: 5_000, stopping: new AbortController().signal },
    reader: {} as never,
    settlement: {} as never,
    reception: { receive: () => Promise.reject(new Error('READONLY')) } as never,
    leases: {
      surrender: async () => 0,
      renewAll: async (asked: readonly TakenEntry[]) => new Set(asked),
    } as never,
    isOwnName: async () => true,
    run: async () => ({ how: Promise.resolve('ended') }),
  })
  await admission.take(entries)
  await waitFor(() => logger.lines.some(({ level }) => level === 'error'))
  expect([slots.used, slots.free]).toEqual([0, 2])
  expect(entries.some((entry) => keeper.has(entry))).toBe(false)
})
