import { describe, expect, test } from 'vitest'
import { LUA } from '../../src/redis/lua.generated.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { sleep } from '../../src/util/sleep.ts'
import type { ProxiedConnection } from '../support/proxied-connection.ts'
import { House, isPulse } from '../worker/harness.ts'
import { Ward } from './ward.ts'

/** Promised are two seconds; the rest is for a busy machine, on which several of these run at once. */
const SOON_MS = 6_000

/** Each connection that was lost is back, both was said once, and nothing else. */
async function lostOnce(ward: Ward): Promise<void> {
  const lost = () => Object.keys(ward.logged()).filter((line) => !line.includes('is back'))
  await waitFor(() => lost().every((line) => line.replace('lost', 'is back') in ward.logged()), { timeoutMs: 2_000 })
  expect(lost().length).toBeGreaterThan(2)
  for (const line of lost()) expect(line).toMatch(/^Redis connection lost: /)
  for (const [line, count] of Object.entries(ward.logged())) expect([line, count]).toEqual([line, 1])
}

/** The six connections of a worker and a client, by what they have sent. */
const USES: Record<string, (connection: ProxiedConnection) => boolean> = {
  "the worker's commands": (connection) => connection.hasRun(LUA.conclude.sha),
  "the worker's blocking read": ({ use, commands }) => use === 'blocking' && commands.has('XREADGROUP'),
  "the worker's inbox": ({ use, commands }) => use === 'blocking' && !commands.has('XREADGROUP'),
  "the worker's lease thread": isPulse,
  "the client's commands": (connection) => connection.hasRun(LUA.send.sha),
  "the client's pushes": ({ use }) => use === 'subscriber',
}

async function finish(ward: Ward, result: Promise<unknown>): Promise<void> {
  ward.stopLoad()
  ward.gate.open()
  expect(await result).toMatchObject({ status: 'COMPLETED', data: 'held' })
  await ward.settled()
  expect([...ward.starts].filter(([id, count]) => id === 'held' && count > 1)).toEqual([])
  for (const [line, count] of Object.entries(ward.logged())) expect([line, count]).toEqual([line, 1])
}

describe.concurrent('a half-open connection is found, and replaced by a new one', () => {
  test.each(Object.keys(USES))('%s', { timeout: 30_000 }, async (name) => {
    const ward = await Ward.open({ work: { leaseMs: 2_000 } })
    const isMeant = USES[name] as (connection: ProxiedConnection) => boolean
    await ward.hold()
    const result = ward.result()
    ward.startLoad()
    await waitFor(() => ward.accepted.length > 5 && ward.proxy.connections(isMeant).length === 1)
    const before = performance.now()
    expect(ward.proxy.blackHole(isMeant)).toBe(1)
    await waitFor(() => ward.proxy.connections((each) => isMeant(each) && !each.isInHole).length === 1)
    expect(performance.now() - before).toBeLessThan(SOON_MS)
    expect(await ward.backAtWork()).toBeLessThan(SOON_MS)
    await finish(ward, result)
    expect(Object.keys(ward.logged()).filter((line) => line.startsWith('Redis connection lost'))).toHaveLength(1)
  })

  test('all of them at once, the network being gone for longer than a lease', { timeout: 40_000 }, async () => {
    const ward = await Ward.open({ work: { leaseMs: 1_000 } })
    await ward.hold()
    const result = ward.result()
    ward.startLoad()
    await waitFor(() => ward.accepted.length > 5)
    ward.proxy.blackHole()
    await sleep(3_000)
    const attempts = ward.proxy.accepted
    await sleep(1_500)
    expect(ward.proxy.accepted - attempts).toBeLessThan(20)
    ward.proxy.pass()
    ward.proxy.cut((connection) => connection.isInHole)
    expect(await ward.backAtWork()).toBeLessThan(SOON_MS)
    await finish(ward, result)
  })
})

describe.concurrent('CLIENT KILL', () => {
  test.each(['normal', 'pubsub'])('of every %s connection, again and again', { timeout: 30_000 }, async (type) => {
    const ward = await Ward.open()
    await ward.hold()
    const result = ward.result()
    ward.startLoad()
    for (let round = 0; round < 5; round += 1) {
      const { length } = ward.accepted
      await waitFor(() => ward.accepted.length > length + 3)
      await ward.house.redis.call('CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes')
    }
    expect(await ward.backAtWork()).toBeLessThan(SOON_MS)
    ward.stopLoad()
    ward.gate.open()
    expect(await result).toMatchObject({ status: 'COMPLETED', data: 'held' })
    await ward.settled()
    expect([...ward.starts.values()].filter((count) => count > 1)).toEqual([])
    for (const [line, count] of Object.entries(ward.logged())) expect([line, count <= 5]).toEqual([line, true])
    // One that nobody needs for its work may come back last; then all are at rest.
    await waitFor(async () => (await ward.idleSecond()).connections === 0, { message: 'no more new connections' })
  })
})

test.concurrent('a server that hangs for a while with open sockets: all goes on when it does', {
  timeout: 40_000,
}, async () => {
  const ward = await Ward.open()
  await ward.hold()
  const result = ward.result()
  ward.startLoad()
  await waitFor(() => ward.accepted.length > 5)
  ward.server.kill('SIGSTOP')
  await sleep(4_000)
  ward.server.kill('SIGCONT')
  expect(await ward.backAtWork()).toBeLessThan(SOON_MS)
  await finish(ward, result)
})

test.concurrent.each([
  ['that holds all back', ['CLIENT', 'PAUSE', '7000']],
  ['that holds writes back, and greets', ['CLIENT', 'PAUSE', '7000', 'WRITE']],
] as const)(
  'a server %s is given up again and again: each connection says so once, and once that it is back',
  { timeout: 40_000 },
  async (_, [command, ...args]) => {
    const ward = await Ward.open()
    ward.startLoad()
    await waitFor(() => ward.accepted.length > 5)
    await ward.house.redis.call(command, ...args)
    await sleep(7_000)
    expect(await ward.backAtWork()).toBeLessThan(SOON_MS)
    ward.stopLoad()
    await ward.settled()
    await lostOnce(ward)
  },
)

test.concurrent('a password that is not taken any more: each connection says so, and nobody beside them', {
  timeout: 40_000,
}, async () => {
  const house = await House.private()
  const password = (text: string) =>
    house.redis.call('ACL', 'SETUSER', 'a', 'on', 'resetpass', `>${text}`, '~*', '&*', '+@all')
  await password('old')
  const redis = { host: '127.0.0.1', port: house.server.port, username: 'a', password: 'old' }
  const ward = await Ward.open({ house, redis })
  ward.startLoad()
  await waitFor(() => ward.accepted.length > 5)
  await password('new')
  await house.redis.call('CLIENT', 'KILL', 'USER', 'a')
  await sleep(3_000)
  await password('old')
  expect(await ward.backAtWork()).toBeLessThan(SOON_MS)
  ward.stopLoad()
  await ward.settled()
  await lostOnce(ward)
})
