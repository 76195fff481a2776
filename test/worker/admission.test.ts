import { expect, test } from 'vitest'
import type { TakenEntry } from '../../src/store/control-streams.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { Admission, type AdmissionOptions } from '../../src/worker/admission.ts'
import { Ahead } from '../../src/worker/ahead.ts'
import { LeaseKeeper } from '../../src/worker/lease-keeper.ts'
import { Slots } from '../../src/worker/slots.ts'
import { unhandledRejections } from '../support/rejections.ts'
import { memoryLogger } from './harness.ts'

function open(parts: Partial<AdmissionOptions>) {
  const logger = memoryLogger()
  const slots = new Slots(2)
  const idle = { running: () => 0, onReplaced: () => undefined, onLost: () => undefined, data: () => ({}) as never }
  const keeper = new LeaseKeeper({ capacity: 10, streamKeys: ['k'], redis: {} as never, ...idle, logger })
  const admission = new Admission({
    ...{ keeper, slots, logger, ahead: new Ahead(5_000), leaseMs: 5_000, stopping: new AbortController().signal },
    reader: {} as never,
    settlement: {} as never,
    reception: {} as never,
    leases: {} as never,
    isOwnName: async () => true,
    run: async () => ({ how: Promise.resolve('ended') }),
    ...parts,
  })
  return { admission, keeper, slots, logger }
}

const taken = (id: string, askedAt: number) =>
  ({ ...{ id, stream: { key: 'k' }, deliveries: 1, maybeBegun: false, askedAt } }) as unknown as TakenEntry

test('of a batch that cannot be begun each slot is given once, also where a part of it was heard of too late', async () => {
  const { admission, keeper, slots, logger } = open({
    reception: { receive: () => Promise.reject(new Error('READONLY')) } as never,
    leases: {
      surrender: async () => 0,
      renewAll: async (asked: readonly TakenEntry[]) => new Set(asked),
    } as never,
  })
  const entries = [taken('1-0', performance.now() - 4_000), taken('1-1', performance.now())]
  await admission.take(entries)
  await waitFor(() => logger.lines.some(({ level }) => level === 'error'))
  expect([slots.used, slots.free]).toEqual([0, 2])
  expect(entries.some((entry) => keeper.has(entry))).toBe(false)
})

test('an entry whose end nobody saw to is let go, and said so', async () => {
  const unhandled = unhandledRejections()
  const gone: unknown[] = []
  const { admission, keeper, slots, logger } = open({
    reception: {
      receive: async (entries: readonly TakenEntry[]) => entries.map((entry) => ({ entry, assignment: {} })),
    } as never,
    leases: { surrender: async (...entry: unknown[]) => gone.push(entry) } as never,
    run: async (_assignment, seat) => {
      seat.give()
      return { how: Promise.reject(new Error('a logger that throws')) }
    },
  })
  const entry = taken('1-0', performance.now())
  await admission.take([entry])
  await slots.drained()
  expect([gone, keeper.has(entry), slots.free]).toEqual([[['k', ['1-0']]], false, 2])
  expect(logger.lines).toMatchObject([{ level: 'error', message: 'the end of a task was not seen to' }])
  expect(unhandled).toEqual([])
})
