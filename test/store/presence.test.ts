import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, test } from 'vitest'
import type { RedisClient } from '../../src/redis/client.ts'
import type { Keys } from '../../src/redis/keys.ts'
import { Presence, type WorkerIdentity } from '../../src/store/presence.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { openStore } from '../redis/harness.ts'

let keys: Keys
let bare: Redis
let presence: Presence
let redis: RedisClient
beforeEach(() => {
  const store = openStore()
  redis = store.redis
  keys = store.keys
  bare = store.bare
  presence = new Presence(store.redis, keys)
})
const identity = (workerId: string, change: Partial<WorkerIdentity> = {}): WorkerIdentity => ({
  ...{ workerId, incarnation: `i-${workerId}`, capabilities: ['a', 'b'], maxConcurrency: 5, leaseMs: 5_000 },
  ...{ host: 'h', pid: 7, version: '1.2.3', agentVersions: [], ...change },
})
const ids = async () => (await presence.list()).map(({ workerId }) => workerId)

test('one who claims his id is on all lists, with all he said', async () => {
  const answer = await presence.claim(identity('w'))
  expect(answer).toEqual({ status: 'claimed', startedAt: expect.any(Number) })
  expect(await presence.list()).toEqual([
    {
      ...{
        workerId: 'w',
        capabilities: ['a', 'b'],
        maxConcurrency: 5,
        running: 0,
        host: 'h',
        pid: 7,
        version: '1.2.3',
        agentVersions: [],
      },
      ...{ startedAt: expect.any(Number), lastSeenAt: expect.any(Number) },
    },
  ])
  expect(await Promise.all(['a', 'b', 'c'].map((name) => presence.online(name)))).toEqual([['w'], ['w'], []])
})

test('a second one is told who holds it, and changes nothing', async () => {
  await presence.claim(identity('w'))
  const before = await presence.list()
  const answer = await presence.claim(identity('w', { incarnation: 'other', host: 'elsewhere', capabilities: ['z'] }))
  expect(answer).toMatchObject({
    status: 'held',
    holder: { incarnation: 'i-w', host: 'h', pid: 7, silentMs: expect.any(Number) },
  })
  expect(await presence.list()).toEqual(before)
  expect(await presence.online('z')).toEqual([])
  await presence.leave(identity('w', { incarnation: 'other' }))
  expect(await ids()).toEqual(['w'])
})

test('one who replaced a dead one is not disturbed by it', async () => {
  await presence.claim(identity('w'))
  expect(await presence.claim(identity('w', { incarnation: 'next' }), 'i-w')).toMatchObject({ status: 'claimed' })
  await expect(presence.beat(identity('w'), 1, 0)).rejects.toMatchObject({ code: 'GW_WORKER_ID_TAKEN' })
  await presence.leave(identity('w'))
  expect(await ids()).toEqual(['w'])
})

test('a beat tells the load; leaving takes one off all lists', async () => {
  await presence.claim(identity('w'))
  await presence.claim(identity('v'))
  await presence.beat(identity('w'), 1, 3)
  expect((await presence.list()).map(({ workerId, running }) => [workerId, running])).toEqual([
    ['v', 0],
    ['w', 3],
  ])
  await presence.leave(identity('w'))
  expect(await ids()).toEqual(['v'])
  expect(await presence.online('a')).toEqual(['v'])
  await presence.leave(identity('v'))
  expect(await bare.keys(`${keys.prefix}*`)).toEqual([])
})

test('one who is silent for too long is gone, and those who look leave nothing of him behind', async () => {
  await presence.claim(identity('quick', { leaseMs: 80 }))
  await presence.claim(identity('slow', { leaseMs: 60_000 }))
  await waitFor(async () => (await ids()).length === 1)
  expect(await ids()).toEqual(['slow'])
  expect(await presence.online('a')).toEqual(['slow'])
  expect(await presence.online('b')).toEqual(['slow'])
  expect(await bare.exists(keys.worker('quick'))).toBe(0)
  expect(await bare.zcard(keys.workers())).toBe(1)
  expect(await bare.zcard(keys.capability('a'))).toBe(1)
})

test('a beat after a flush puts one back on all lists', async () => {
  await presence.claim(identity('w'))
  const before = await presence.list()
  await bare.del(keys.worker('w'), keys.workers(), keys.capability('a'), keys.capability('b'))
  await presence.beat(identity('w'), before[0]?.startedAt ?? 0, 0)
  expect((await presence.list()).map((worker) => ({ ...worker, lastSeenAt: 0 }))).toEqual(
    before.map((worker) => ({ ...worker, lastSeenAt: 0 })),
  )
  expect(await presence.online('a')).toEqual(['w'])
})

/** Presence whose commands of one kind are followed by something else before anybody hears their answers. */
function interrupted(method: 'all' | 'script', meanwhile: () => Promise<unknown>): Presence {
  let done = false
  const get = (target: RedisClient, name: string | symbol) => {
    const value: unknown = Reflect.get(target, name, target)
    if (typeof value !== 'function') return value
    return async (...args: unknown[]) => {
      const answer: unknown = await value.apply(target, args)
      const isFirst = name === method && !done
      done ||= isFirst
      if (isFirst) await meanwhile()
      return answer
    }
  }
  return new Presence(new Proxy(redis, { get }), keys)
}

describe('a live worker stays on the lists', () => {
  test.each(['online', 'list'] as const)('though %s saw it expired a moment before its beat', async (looks) => {
    await presence.claim(identity('w', { leaseMs: 20 }))
    await waitFor(async () => (await bare.exists(keys.worker('w'))) === 0)
    const slow = interrupted('all', () => presence.beat(identity('w'), 1, 0))
    expect(await (looks === 'online' ? slow.online('a') : slow.list())).toEqual([])
    expect(await Promise.all([presence.online('a'), ids()])).toEqual([['w'], ['w']])
  })

  test('though the one before it under its id leaves at that moment', async () => {
    await presence.claim(identity('w'))
    const next = identity('w', { incarnation: 'next' })
    await interrupted('script', async () => {
      await pause(2)
      expect(await presence.claim(next)).toMatchObject({ status: 'claimed' })
    }).leave(identity('w'))
    expect(await Promise.all([presence.online('a'), ids()])).toEqual([['w'], ['w']])
  })
})

test('who comes back under its id with fewer capabilities is not taken for one who offers the others', async () => {
  await presence.claim(identity('w'))
  await presence.claim(identity('w', { incarnation: 'next', capabilities: ['b'] }), 'i-w')
  expect(await Promise.all([presence.online('a'), presence.online('b')])).toEqual([[], ['w']])
  expect(await bare.exists(keys.capability('a'))).toBe(0)
})

test('whoever begins takes those off the lists that ended without a word long ago, though nobody ever looks', async () => {
  const [seconds] = await bare.time()
  const longAgo = (Number(seconds) - 7_200) * 1_000
  const lists = [keys.workers(), keys.capability('a')]
  for (const list of lists) await bare.zadd(list, `${longAgo}`, 'dead', longAgo, 'slow', longAgo + 7_000_000, 'recent')
  await bare.hset(keys.worker('slow'), 'capabilities', '["a"]')
  await presence.claim(identity('w'))
  for (const list of lists)
    await bare.call('ZADD', list, longAgo, 'dead', longAgo, 'slow', longAgo + 7_000_000, 'recent')
})
