import { expect, test, vi } from 'vitest'
import { RedisClient } from '../../src/redis/client.ts'
import { ControlLeases, LET_GO_MS } from '../../src/store/control-leases.ts'
import { lanesOf } from '../../src/store/control-streams.ts'
import { ControlWriter } from '../../src/store/control-writer.ts'
import { openStore } from '../redis/harness.ts'

test('a takeover is bounded in time from the second on, and an answer that is read late does not shorten the next one', async () => {
  const { redis, keys, bare } = openStore()
  const streams = lanesOf(['agent'], keys).filter(({ priority }) => priority === 'normal')
  const key = keys.control('agent')
  await bare.xgroup('CREATE', key, 'g', '0', 'MKSTREAM')
  const leases = new ControlLeases(redis, 'g', 'w')
  /** @param lateMs - By how much too late the answer is read, as by a busy event loop. */
  const take = async (withinMs: number, lateMs = 0) => {
    const id = (await bare.xadd(key, '*', 'data', '{}')) ?? ''
    await bare.xreadgroup('GROUP', 'g', 'dead', 'STREAMS', key, '>')
    await bare.xclaim(key, 'g', 'dead', 0, id, 'IDLE', 60_000)
    const taking = leases.reclaim(streams, 30_000, 10, new Map(), withinMs)
    const { now } = performance
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => Reflect.apply(now, performance, []) + lateMs)
    const { entries } = await taking
    clock.mockRestore()
    await bare.xack(key, 'g', id)
    return entries.length
  }
  expect(await take(-5_000)).toBe(1) // what the server's clock says is not known yet
  expect(await take(-5_000)).toBe(0)
  // The server tells whole milliseconds: what is left of them differs from one time to the next.
  for (let i = 0; i < 50; i += 1) {
    expect(await take(5_000, 10_000)).toBe(1)
    expect(await take(5_000)).toBe(1)
  }
})

test('what one slot gave is taken over though the call for the next one fails', async () => {
  const { redis, keys, bare } = openStore()
  Object.assign(redis, { isCluster: true }) // each slot has a call of its own then
  const streams = ['a', 'b', 'c'].flatMap((name) => lanesOf([name], keys).slice(0, 1))
  for (const { key } of streams) {
    await bare.xgroup('CREATE', key, 'g', '0', 'MKSTREAM')
    const id = (await bare.xadd(key, '*', 'data', '{}')) ?? ''
    await bare.xreadgroup('GROUP', 'g', 'dead', 'STREAMS', key, '>')
    await bare.xclaim(key, 'g', 'dead', 0, id, 'IDLE', 60_000)
  }
  const leases = new ControlLeases(redis, 'g', 'w')
  const cut = new Error('cut')
  const script = vi.spyOn(redis, 'script')
  script.mockRejectedValueOnce(cut)
  const none = await leases.reclaim(streams, 30_000, 10, new Map())
  expect([none.entries, none.fault]).toEqual([[], cut])
  script.mockImplementationOnce(RedisClient.prototype.script.bind(redis)).mockRejectedValueOnce(cut)
  const first = await leases.reclaim(streams, 30_000, 10, new Map())
  expect([first.entries.map(({ stream }) => stream), first.fault]).toEqual([streams.slice(0, 1), cut])
  const rest = await leases.reclaim(streams, 30_000, 10, new Map())
  expect([rest.entries.map(({ stream }) => stream), rest.fault]).toEqual([streams.slice(1), undefined])
})

test('all that a consumer has is let go, however much that is', async () => {
  const { redis, keys, bare } = openStore()
  const key = keys.control('agent')
  await bare.xgroup('CREATE', key, 'g', '0', 'MKSTREAM')
  const count = 9_000
  const sending = bare.pipeline()
  for (let i = 0; i < count; i += 1) sending.xadd(key, '*', 'data', '{}')
  await sending.exec()
  await bare.xreadgroup('GROUP', 'g', 'w', 'COUNT', count, 'STREAMS', key, '>')
  expect(await new ControlLeases(redis, 'g', 'w').surrender(key)).toBe(count)
  const silent = await bare.xpending(key, 'g', 'IDLE', LET_GO_MS, '-', '+', count)
  expect(silent).toHaveLength(count)
})

test('the lane of a version goes in its time while it is empty, and not with what was handed over to it', async () => {
  const { redis, keys, bare } = openStore()
  const streams = lanesOf(['agent'], keys, ['1'])
  const [lane, plain] = [keys.control('agent', 'normal', '1'), keys.control('agent')]
  for (const key of [lane, plain]) await bare.xgroup('CREATE', key, 'g', '0', 'MKSTREAM')
  const leases = new ControlLeases(redis, 'g', 'w')
  await leases.tend(streams)
  expect(await bare.pttl(lane)).toBeGreaterThan(0)
  expect(await bare.pttl(plain)).toBe(-1)
  const entry = { capability: 'agent', priority: 'normal', version: '1', data: '{}', turn: '2' } as const
  await new ControlWriter(redis, keys).handOver(entry)
  expect(await bare.pttl(lane)).toBe(-1)
  await bare.pexpire(lane, 60_000)
  await leases.tend(streams)
  expect(await bare.pttl(lane)).toBe(-1)
})
