import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { TakenEntry } from '../../src/store/control-streams.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { sleep } from '../../src/util/sleep.ts'
import { Admission, type AdmissionOptions } from '../../src/worker/admission.ts'
import { Ahead } from '../../src/worker/ahead.ts'
import { LeaseKeeper } from '../../src/worker/lease-keeper.ts'
import { type Seat, Slots } from '../../src/worker/slots.ts'
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

const taken = (id: string, askedAt: number, more: Partial<TakenEntry> = {}) =>
  ({ ...{ id, stream: { key: 'k' }, deliveries: 1, maybeBegun: false, askedAt }, ...more }) as unknown as TakenEntry

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

test('what was begun by a call that was held up is run only where it is still its own', async () => {
  const ran: unknown[] = []
  const { admission, keeper, slots } = open({
    leaseMs: 100,
    reception: {
      receive: async (entries: readonly TakenEntry[]) => {
        await sleep(60)
        return entries.map((entry) => ({ entry, assignment: entry }))
      },
    } as never,
    leases: { renewAll: async ([first]: readonly TakenEntry[]) => new Set([first]) } as never,
    run: (assignment) => {
      ran.push((assignment as unknown as TakenEntry).id)
      return new Promise(() => undefined)
    },
  })
  const entries = [taken('1-0', performance.now()), taken('1-1', performance.now())]
  await admission.take(entries)
  expect([ran, entries.map((entry) => keeper.has(entry)), slots.free]).toEqual([['1-1'], [false, true], 1])
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

test('what there is no room for goes to the end of its stream only where nobody can have begun it', async () => {
  const released: unknown[] = []
  const gone: unknown[] = []
  const gate = deferred()
  const { admission, slots } = open({
    reader: {
      release: async (entries: readonly TakenEntry[], inPlace: boolean) => {
        await gate.promise
        released.push([entries.map(({ id }) => id), inPlace])
      },
    } as never,
    leases: { surrender: async (...entry: unknown[]) => gone.push(entry) } as never,
    settlement: { flushed: async () => undefined } as never,
  })
  slots.take(2)
  const now = performance.now()
  await admission.take([
    taken('1-0', now),
    // Bound to its record, which a new entry of the same task would not be.
    taken('1-1', now, { deliveries: 2 }),
    taken('1-2', now, { maybeBegun: true }),
    taken('1-3', now, { maybeBegun: true, begun: 1 }),
  ])
  let isSettled = false
  const settled = admission.settled().then(() => {
    isSettled = true
  })
  await nextTurn()
  expect([gone, isSettled]).toEqual([[['k', ['1-1', '1-2']]], false])
  gate.resolve()
  await settled
  expect(released).toEqual([[['1-0', '1-3'], false]])
})

test('who waits ahead goes before what is taken later, also while a slot is free', async () => {
  const order: unknown[] = []
  const seats: Seat[] = []
  const { admission } = open({
    reader: { release: async () => undefined } as never,
    reception: {
      receive: async (entries: readonly TakenEntry[]) => entries.map((entry) => ({ entry, assignment: entry })),
    } as never,
    run: (assignment, seat) => {
      order.push((assignment as unknown as TakenEntry).id)
      seats.push(seat)
      return new Promise(() => undefined)
    },
  })
  const now = performance.now()
  await admission.take([taken('1-0', now), taken('1-1', now), taken('1-2', now)], 5)
  seats[0]?.give()
  await admission.take([taken('1-3', now)], 5)
  await nextTurn()
  expect(order).toEqual(['1-0', '1-1', '1-2'])
  admission.close()
})

test('what was said of a task as it was handed out does not count when that is long ago', async () => {
  const begun: unknown[] = []
  const ahead = new Ahead(5_000)
  ahead.noteRead(0.1)
  const { admission } = open({
    ahead,
    reception: {
      receive: async (entries: readonly TakenEntry[]) => {
        begun.push(...entries.map((entry) => entry.begun))
        return []
      },
    } as never,
  })
  const now = performance.now()
  await admission.take([taken('1-0', now - 1_000, { begun: 1 }), taken('1-1', now + 10_000, { begun: 1 })])
  expect(begun).toEqual([undefined, 1])
})
