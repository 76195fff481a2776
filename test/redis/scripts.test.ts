import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { RedisClient, ScriptName } from '../../src/redis/client.ts'
import type { Keys } from '../../src/redis/keys.ts'
import { LUA } from '../../src/redis/lua.generated.ts'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'
import { filesIn } from '../ground/sources.ts'
import { bareRedis, openStore } from './harness.ts'

let redis: RedisClient
let keys: Keys
let bare: Redis
beforeEach(() => {
  ;({ redis, keys, bare } = openStore())
})

const run = <Reply>(name: ScriptName, on: string[], args: (string | number)[] = []) =>
  redis.script<Reply>(name, on, args)
/** Without turns and limits. */
const enqueue = (on: string[], data: string[]) =>
  run<string[]>(
    'enqueue',
    on,
    data.flatMap((one) => [one, '', 0]),
  )
const now = async () => {
  const [seconds, micros] = (await bare.time()).map(Number) as [number, number]
  return seconds * 1000 + Math.floor(micros / 1000)
}

test('every script is baked in, under its name in camelCase', () => {
  const files = filesIn('src/redis/lua', '.lua').filter((path) => !path.includes('/include/'))
  const names = files.map((path) =>
    path.replace(/^.*\/|\.lua$/g, '').replace(/-(.)/g, (_, letter: string) => letter.toUpperCase()),
  )
  expect(Object.keys(LUA).sort()).toEqual(names.sort())
})

test('a server that does not know a script is given its source', async () => {
  await bare.script('FLUSH', 'SYNC')
  const [[id]] = (await Promise.all([enqueue([keys.control('c')], ['x']), enqueue([keys.control('c')], ['y'])])) as [
    [string],
    [string],
  ]
  expect(id).toMatch(/^\d+-\d+$/)
  expect(await bare.xlen(keys.control('c'))).toBe(2)
  await expect(run('enqueue', [keys.control('c')], [])).rejects.toThrow(/./)
})

describe('enqueue', () => {
  test('puts each envelope on its stream, in order, and answers the ids', async () => {
    const [a, b] = [keys.control('a'), keys.control('b')]
    const ids = await enqueue([a, b, a], ['1', '2', '3'])
    expect(await bare.xrange(a, '-', '+')).toEqual([
      [ids[0], ['data', '1']],
      [ids[2], ['data', '3']],
    ])
    expect(await bare.xrange(b, '-', '+')).toEqual([[ids[1], ['data', '2']]])
  })

  test('keeps the turn beside the envelope', async () => {
    const a = keys.control('a')
    const [id] = await run<string[]>('enqueue', [a], ['1', '7', 0])
    expect(await bare.xrange(a, '-', '+')).toEqual([[id, ['data', '1', 'turn', '7']]])
  })

  test('refuses what is beyond the limit of its stream, and only that', async () => {
    const [a, b] = [keys.control('a'), keys.control('b')]
    const one = (data: string, limit: number) => [data, '', limit]
    const args = [one('1', 2), one('2', 2), one('3', 2), one('4', 2), one('5', 0), one('6', 3), one('7', 4)].flat()
    const ids = await run<string[]>('enqueue', [a, a, a, b, a, a, a], args)
    expect(ids.map((id) => id !== '')).toEqual([true, true, false, true, true, false, true])
    expect((await bare.xrange(a, '-', '+')).map(([, fields]) => fields[1])).toEqual(['1', '2', '5', '7'])
    expect(await bare.xlen(b)).toBe(1)
  })
})

describe('send', () => {
  const send = (...tasks: [tail: string, terms: string][]) =>
    run<(number | string)[]>(
      'send',
      tasks.map(() => keys.control('a')),
      [keys.taskHead(), keys.sessionHead(), ''].concat(
        tasks.flatMap(([tail, terms]) => ['1', terms, tail, 'a', 'trace', '', 'user']),
      ),
    )

  test('makes entry and record; the same again is another entry, and no other record', async () => {
    expect(await send(['{s}:m', ''], ['{s}:m', ''])).toEqual([1, 0])
    const entries = await bare.xrange(keys.control('a'), '-', '+')
    expect(entries.map(([, fields]) => fields)).toEqual(Array(2).fill(['data', '1', 'task', '{s}:m']))
    expect(await bare.hgetall(keys.task('s', 'm'))).toEqual({
      ...{ fence: 'Q:0::', agent_type: 'a', trace_id: 'trace', parent_message_id: '', user_code: 'user' },
      created_at: expect.stringMatching(/^\d{13}$/),
    })
    expect(await bare.zrange(keys.session('s'), '0', '-1')).toEqual(['', 'm'])
  })

  test('makes neither where its stream is full; keeps times and lane', async () => {
    expect(await send(['{s}:m', '1 :500:@w'], ['{s}:n', '1 '], ['{s:2}:o:p', '2 '])).toEqual([1, '', 1])
    const expires = await bare.hmget(keys.task('s', 'm'), 'expires_at', 'created_at', 'lane')
    expect([Number(expires[0]) - Number(expires[1]), expires[2]]).toEqual([500, '@w'])
    expect(await bare.exists(keys.task('s', 'n'))).toBe(0)
    expect(await bare.zrange(keys.session('s:2'), '0', '-1')).toEqual(['', 'o:p'])
  })
})

describe('settle, release, reclaim, renew, surrender, remove-consumers', () => {
  const GROUP = 'agent_engines'
  let a: string
  let b: string
  let ids: string[]
  beforeEach(async () => {
    a = keys.control('a')
    b = keys.control('b')
    for (const key of [a, b]) await bare.xgroup('CREATE', key, GROUP, '0', 'MKSTREAM')
    ids = await enqueue([a, a, a, b], ['1', '2', '3', '4'])
  })
  const take = (consumer: string, count: number, key = a) =>
    bare.xreadgroup('GROUP', GROUP, consumer, 'COUNT', count, 'STREAMS', key, '>')
  const pending = async (key = a) =>
    ((await bare.xpending(key, GROUP, '-', '+', 100)) as [string, string, number, number][]).map(
      ([id, consumer, idle, deliveries]) => ({ id, consumer, idle, deliveries }),
    )
  const data = async (key = a) => (await bare.xrange(key, '-', '+')).map(([, fields]) => fields[1])
  const makeIdle = (consumer: string, id: string, idleMs: number) =>
    bare.xclaim(a, GROUP, consumer, 0, id, 'IDLE', idleMs, 'JUSTID')

  test('settle acks and deletes on several streams, and bears repeating', async () => {
    await take('w', 3)
    await take('w', 1, b)
    const args = [GROUP, 2, ids[0] as string, ids[2] as string, 1, ids[3] as string]
    await run('settle', [a, b], args)
    expect(await data()).toEqual(['2'])
    expect((await pending()).map(({ id }) => id)).toEqual([ids[1]])
    expect([await data(b), await pending(b)]).toEqual([[], []])
    await run('settle', [a, b], args)
    expect(await data()).toEqual(['2'])
  })

  test('settle carries five thousand at once', async () => {
    const many = await Promise.all(
      Array.from({ length: 50 }, () =>
        enqueue(
          Array.from({ length: 100 }, () => b),
          Array.from({ length: 100 }, () => 'x'),
        ),
      ),
    )
    await take('w', 6_000, b)
    const flat = many.flat()
    await run('settle', [b], [GROUP, flat.length, ...flat])
    expect(await bare.xlen(b)).toBe(1)
  })

  test('release gives back what was taken, with all its fields, for any worker; what is gone stays gone', async () => {
    const odd = (await bare.xadd(a, '*', 'first', 'x', 'data', '5', 'last', 'y')) as string
    await take('w', 4)
    await bare.xdel(a, ids[1] as string)
    expect(await run('release', [a], [GROUP, 'w', '', 0, ids[0] as string, ids[1] as string, odd, '9-9'])).toBe(2)
    expect((await pending()).map(({ id }) => id)).toEqual([ids[2]])
    const reply = (await take('w-2', 10)) as [string, [string, string[]][]][]
    expect(reply[0]?.[1].map(([, fields]) => fields)).toEqual([
      ['data', '1'],
      ['first', 'x', 'data', '5', 'last', 'y'],
    ])
  })

  test('release comes too late for what was delivered again, be it to one of the same name', async () => {
    await take('w', 2)
    await bare.xclaim(a, GROUP, 'w', 0, ids[0] as string)
    expect(await run('release', [a], [GROUP, 'w', '', 0, ids[0] as string, ids[1] as string])).toBe(1)
    expect((await pending()).map(({ id, consumer }) => [id, consumer])).toEqual([[ids[0], 'w']])
    expect(await run('release', [a], [GROUP, 'w', '', 1, ids[0] as string])).toBe(0)
    expect((await pending())[0]?.deliveries).toBe(2)
  })

  test('renew restarts the time of what is mine, and never steals back', async () => {
    await take('w', 2)
    await take('other', 1)
    for (const id of ids.slice(0, 3)) await makeIdle(id === ids[2] ? 'other' : 'w', id, 60_000)
    const before = await pending()
    expect(await run('renew', [a], [GROUP, 'w', 100, ids[0] as string, ids[2] as string, '9-9'])).toEqual([ids[0]])
    const after = await pending()
    expect(after[0]?.idle).toBeLessThan(30_000)
    expect(after[1]?.idle).toBeGreaterThan(50_000)
    expect(after[2]).toMatchObject({ consumer: 'other' })
    expect(after[2]?.idle).toBeGreaterThan(50_000)
    expect(after.map(({ deliveries }) => deliveries)).toEqual(before.map(({ deliveries }) => deliveries))
    expect(await run('renew', [a], [GROUP, 'w', 100])).toEqual([])
    expect(await run('renew', [a], [GROUP, 'nobody', 100, ids[0] as string])).toEqual([])
  })

  type Reclaimed = [[cursor: string, taken: [string, string[], number][]][], error: string, now: number]
  const reclaim = (on: string[], most: number, ...cursors: string[]) =>
    run<Reclaimed>('reclaim', on, [GROUP, 'w-2', 30_000, most, 100, '', ...cursors])
  const at = expect.any(Number)

  test('reclaim takes over what has been silent, in place, counts deliveries, and goes on from its cursor', async () => {
    await take('w', 3)
    for (const id of ids.slice(0, 2)) await makeIdle('w', id, 60_000)
    const [[[cursor = '', taken] = []]] = await reclaim([a], 1, '0-0')
    expect(taken).toEqual([[ids[0], ['data', '1'], 2]])
    expect(await reclaim([a], 10, cursor)).toEqual([[['0-0', [[ids[1], ['data', '2'], 2]]]], '', at])
    expect((await pending()).map(({ consumer }) => consumer)).toEqual(['w-2', 'w-2', 'w'])
    expect(await data()).toEqual(['1', '2', '3'])
    expect(await reclaim([a], 10, '0-0')).toEqual([[['0-0', []]], '', at])
  })

  test('reclaim takes nothing after the time until which it is meant', async () => {
    await take('w', 1)
    await makeIdle('w', ids[0] as string, 60_000)
    const until = async (ms: number) => {
      const args = [GROUP, 'w-2', 30_000, 10, 100, (await now()) + ms, '0-0']
      const [[[, taken = []] = []], , time] = await run<Reclaimed>('reclaim', [a], args)
      expect(Math.abs(time - (await now()))).toBeLessThan(5_000)
      return taken.map(([id]) => id)
    }
    expect(await until(-1)).toEqual([])
    expect((await pending()).map(({ consumer }) => consumer)).toEqual(['w'])
    expect(await until(5_000)).toEqual([ids[0]])
  })

  test('reclaim passes over what was deleted while it was pending', async () => {
    await take('w', 2)
    for (const id of ids.slice(0, 2)) await makeIdle('w', id, 60_000)
    await bare.xdel(a, ids[0] as string)
    const [[[, taken = []] = []]] = await reclaim([a], 10, '0-0')
    expect(taken.map(([id]) => id)).toEqual([ids[1]])
    expect((await pending()).map(({ id }) => id)).toEqual([ids[1]])
  })

  test('reclaim walks several streams, in their order, within one count; a broken one keeps nobody', async () => {
    await take('w', 3)
    await take('w', 1, b)
    for (const id of ids.slice(0, 3)) await makeIdle('w', id, 60_000)
    await bare.xclaim(b, GROUP, 'w', 0, ids[3] as string, 'IDLE', 60_000, 'JUSTID')
    const none = keys.control('none')
    const [first, fault] = await reclaim([b, none, a], 2, '0-0', '5-5', '0-0')
    expect(first.map(([, taken]) => taken.map(([id]) => id))).toEqual([[ids[3]], [], [ids[0]]])
    expect(first[1]?.[0]).toBe('5-5')
    expect(fault).toMatch(/NOGROUP/)
    const [second] = await reclaim([b, a], 0, '0-0', first[2]?.[0] as string)
    expect(second).toEqual([
      ['0-0', []],
      [first[2]?.[0], []],
    ])
    const limited = await run<Reclaimed>('reclaim', [b, a], [GROUP, 'w-3', 30_000, 100, 1, '', '0-0', '0-0'])
    expect(limited[0].map(([, taken]) => taken.map(([id]) => id))).toEqual([[], [ids[1]]])
  })

  test('surrender lets go of the given ones, or of all, of this consumer only, without counting a delivery', async () => {
    await take('w', 2)
    await take('other', 1)
    expect(await run('surrender', [a], [GROUP, 'w', 100, ids[1] as string, ids[2] as string])).toBe(1)
    const month = 29 * 86_400_000
    expect((await pending()).map(({ idle }) => idle > month)).toEqual([false, true, false])
    expect(await run('surrender', [a], [GROUP, 'w', 100])).toBe(2)
    expect((await pending()).map(({ idle }) => idle > month)).toEqual([true, true, false])
    expect((await pending()).map(({ deliveries }) => deliveries)).toEqual([1, 1, 1])
    expect(await run('surrender', [a], [GROUP, 'nobody', 100])).toBe(0)
  })

  test('surrender takes back the delivery of what is handed over, and of nothing that was left behind', async () => {
    await take('w', 2)
    for (const id of ids.slice(0, 2)) await bare.xclaim(a, GROUP, 'w', 0, id, 'RETRYCOUNT', 3, 'JUSTID')
    expect(await run('surrender', [a], [GROUP, 'w', 100, ids[0] as string])).toBe(1)
    expect(await run('surrender', [a], [GROUP, 'w', 100])).toBe(2)
    expect((await pending()).map(({ deliveries }) => deliveries)).toEqual([2, 3])
  })

  test('remove-consumers removes who owns nothing and was silent, and never one who owns something', async () => {
    await take('owner', 1)
    for (const consumer of ['idle', 'me']) await bare.xgroup('CREATECONSUMER', a, GROUP, consumer)
    const consumers = async () =>
      ((await bare.xinfo('CONSUMERS', a, GROUP)) as [string, string][]).map(([, name]) => name).sort()
    expect(await run('removeConsumers', [a], [GROUP, 60_000, ''])).toBe(0)
    expect(await run('removeConsumers', [a], [GROUP, 60_000, 'me'])).toBe(1)
    expect(await consumers()).toEqual(['idle', 'owner'])
    expect(await run('removeConsumers', [a], [GROUP, -1, 'owner'])).toBe(1)
    expect(await consumers()).toEqual(['owner'])
    expect(await pending()).toHaveLength(1)
  })
})

describe('take', () => {
  const GROUP = 'g'
  let all: string[]
  beforeEach(async () => {
    all = ['a', 'b', 'c', 'd'].map((name) => keys.control(name))
    for (const key of all) await bare.xgroup('CREATE', key, GROUP, '0', 'MKSTREAM')
  })
  type Taken = [streams: [string, [string, string[]][]][], ends: string[], error: string, begun: number[]]
  const take = (budget: number, steps: number[][], on = all, wantsEnds = 1) =>
    run<Taken>('take', on, [GROUP, 'w', budget, wantsEnds, '', '', ...steps.flat()])
  const fill = async (index: number, ...data: string[]) => {
    for (const one of data) await bare.xadd(all[index] as string, '*', 'data', one)
  }
  const brief = ([streams]: Taken) => streams.flatMap(([, entries]) => entries.map(([, [, data]]) => data))

  test('divides the room of a step evenly, and gives what is left to the others and to the next step', async () => {
    await fill(0, 'a1', 'a2', 'a3', 'a4', 'a5')
    await fill(1, 'b1')
    await fill(3, 'd1', 'd2')
    const taken = await take(6, [[1, 3, 4], [4, 4, 1], [1, 4, 6]]) // biome-ignore format: one step beside the other
    // b brings one of its two and c nothing, so a gets the rest of the room; then one of d; then what is there.
    expect(brief(taken)).toEqual(['a1', 'b1', 'a2', 'a3', 'd1', 'a4'])
    expect(taken.slice(1)).toEqual([[], '', []])
    const rest = await take(6, [[1, 4, 6]])
    expect(brief(rest)).toEqual(['a5', 'd2'])
    expect(rest[1]).toHaveLength(4)
  })

  test('more streams than room: the first ones first', async () => {
    for (const index of [0, 1, 2, 3]) await fill(index, `${index}`, `${index}`)
    expect(brief(await take(3, [[1, 4, 3]]))).toEqual(['0', '1', '2'])
  })

  test('the ends are those of what was handed out; whatever comes later lies beyond, with no gap between', async () => {
    await fill(0, '1', '2')
    const [, ends] = await take(5, [[1, 4, 5]])
    await bare.xtrim(all[0] as string, 'MAXLEN', 0)
    expect(ends.slice(1)).toEqual(['0-0', '0-0', '0-0'])
    await fill(0, '3')
    await fill(2, '4')
    const beyond = await bare.xread('STREAMS', ...all, ...ends)
    expect(beyond?.map(([key, entries]) => [key, entries.map(([, fields]) => fields[1])])).toEqual([
      [all[0], ['3']],
      [all[2], ['4']],
    ])
    expect((await take(2, [[1, 4, 2]]))[1]).toEqual([]) // full: there may be more
    expect((await take(2, [[1, 4, 2]], all, 0))[1]).toEqual([])
  })

  test('a stream that fails does not lose what was taken before it', async () => {
    await fill(0, '1')
    await bare.del(all[1] as string)
    const first = await take(5, [[1, 1, 5], [2, 4, 5]]) // biome-ignore format: one step beside the other
    expect(brief(first)).toEqual(['1'])
    expect(first[2]).toMatch(/NOGROUP/)
    await expect(take(5, [[1, 4, 5]])).rejects.toThrow(/NOGROUP/)
  })
})

test('a server that has become read-only is told as such by every script that gathers failures', async () => {
  const server = await startLocalRedis({ fresh: true })
  onTestFinished(() => server.stop())
  const replica = bareRedis(server.url)
  await replica.xgroup('CREATE', 'a', 'g', '0', 'MKSTREAM')
  await replica.replicaof('127.0.0.1', 1)
  const take = replica.eval(LUA.take.source, 1, 'a', 'g', 'w', 5, 1, '', '', 1, 1, 5)
  await expect(take).rejects.toThrow(/^READONLY/)
  const reclaim = replica.eval(LUA.reclaim.source, 1, 'a', 'g', 'w', 0, 5, 100, '', '0-0')
  await expect(reclaim).rejects.toThrow(/^READONLY/)
})

describe('forget-tasks', () => {
  const KEPT_MS = 60_000
  test.each([
    // fence, time to live, due in, what is known of its entry, answer, time to live after that (-2: gone)
    ['R:1:1-0:w', -1, undefined, 'gone', 0, -1],
    ['C:1:1-0:w', KEPT_MS, undefined, '', 1, -2],
    // Its entry must be expected.
    ['X:0::', -1, undefined, '', 0, -1],
    ['X:0::', -1, undefined, 'unseen', 0, -1],
    ['X:0::', -1, undefined, 'gone', 1, -2],
    // Nobody owned it: an entry may come yet, unless it was looked for in vain.
    ['X:0::', KEPT_MS, undefined, '', 0, KEPT_MS],
    ['X:0::', KEPT_MS, undefined, 'unseen', 1, -2],
    ['X:0::', KEPT_MS, 3_600_000, 'unseen', 1, -2],
    // The keeper of the agenda may have it in hand.
    ['X:0::', KEPT_MS, 500, 'unseen', 1, 10_000],
  ])('%s, %d ms left, due in %s, entry %j: %d', async (fence, ttl, dueIn, entry, answer, left) => {
    const [record, journal] = [keys.task('s', 'm'), keys.journal('s', 'm')]
    const due = dueIn === undefined ? {} : { due_at: (await now()) + dueIn }
    await bare.hset(record, { fence, ...due, ...(fence === 'X:0::' && ttl < 0 ? { keep_ms: 1 } : {}) })
    if (ttl > 0) await bare.pexpire(record, ttl)
    await bare.hset(journal, 'n', '1')
    expect(await run('forgetTasks', [keys.session('s'), record, journal], [entry])).toEqual([answer])
    const after = await bare.pttl(record)
    expect(after).toBeLessThanOrEqual(left)
    expect(after).toBeGreaterThan(left > 0 ? left - 8_000 : left - 1)
    expect(await bare.exists(journal)).toBe(fence.startsWith('R') ? 1 : 0)
  })
})

describe('claim-worker, beat, leave', () => {
  const claim = (incarnation: string, knownDead = '') =>
    run<[number, string, string[]?]>(
      'claimWorker',
      [keys.worker('w')],
      [incarnation, 5_000, knownDead, 'host', 'h', 'pid', 7],
    )
  const beat = (incarnation: string) => run<string>('beat', [keys.worker('w')], [incarnation, 5_000, 'running', 3])

  test('one incarnation holds the id; its own claim may be repeated', async () => {
    const [taken, at] = await claim('one')
    expect(taken).toBe(1)
    expect(Math.abs(Number(at) - (await now()))).toBeLessThan(5_000)
    expect((await claim('one'))[0]).toBe(1)
    const [refused, , holder] = await claim('two')
    expect(refused).toBe(0)
    expect(holder).toEqual(expect.arrayContaining(['incarnation', 'one', 'host', 'h', 'pid', '7']))
    expect(await bare.pttl(keys.worker('w'))).toBeGreaterThan(3_000)
  })

  test('only the one that is known to be dead is replaced', async () => {
    await claim('one')
    expect((await claim('two', 'somebody-else'))[0]).toBe(0)
    await bare.hset(keys.worker('w'), 'agent_versions', '["1"]')
    expect((await claim('two', 'one'))[0]).toBe(1)
    // Of the one before nothing is left.
    expect(await bare.hexists(keys.worker('w'), 'agent_versions')).toBe(0)
    expect((await claim('three', 'one'))[0]).toBe(0)
    expect(await beat('one')).toBe('')
    expect(await beat('two')).not.toBe('')
  })

  test('a beat renews, updates, and makes again what has vanished', async () => {
    await claim('one')
    await bare.pexpire(keys.worker('w'), 100)
    expect(Number(await beat('one'))).toBeGreaterThan(0)
    expect(await bare.pttl(keys.worker('w'))).toBeGreaterThan(3_000)
    expect(await bare.hget(keys.worker('w'), 'running')).toBe('3')
    await bare.del(keys.worker('w'))
    expect(await beat('one')).not.toBe('')
    expect(await bare.hget(keys.worker('w'), 'incarnation')).toBe('one')
    expect(await bare.pttl(keys.worker('w'))).toBeGreaterThan(3_000)
  })

  test('leave removes one’s own hash only', async () => {
    await claim('one')
    expect(await run('leave', [keys.worker('w')], ['two'])).toBe('')
    expect(await bare.exists(keys.worker('w'))).toBe(1)
    const seenAt = await bare.hget(keys.worker('w'), 'last_seen_at')
    expect(await run('leave', [keys.worker('w')], ['one'])).toBe(seenAt)
    expect(await run('leave', [keys.worker('w')], ['one'])).toBe('')
    expect(await bare.exists(keys.worker('w'))).toBe(0)
  })
})
