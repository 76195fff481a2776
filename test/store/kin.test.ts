import { describe, expect, test } from 'vitest'
import { Kinship } from '../../src/dispatch/kinships.ts'
import { KinReader } from '../../src/store/kin.ts'
import { connect } from '../redis/harness.ts'
import { House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's' }

/** A session of so many ended tasks, and how many records a read looks at. */
async function session(ended: number) {
  const house = await House.private()
  const kin = new KinReader(connect(house.url).client('patient'), house.keys)
  const client = house.client()
  const worker = await house.work(() => null, { maxConcurrency: 200 })
  await client.sendMessage({ ...send, targetAgentType: 'nobody', messageId: 'oldest', content: 'x' })
  await Promise.all(Array.from({ length: ended }, () => client.ask({ ...send, content: 'x' })))
  await worker.stop()
  const reads = async () => Number(/cmdstat_hmget:calls=(\d+)/.exec(await house.redis.info('commandstats'))?.[1] ?? 0)
  const readsOf = async <T>(run: () => Promise<T>) => {
    const before = await reads()
    const found = await run()
    return { found, count: (await reads()) - before }
  }
  return { house, kin, client, readsOf }
}

describe('in a long session', () => {
  test('a cancel and the open questions cost what is open, not what has ended', { timeout: 60_000 }, async () => {
    const { client, readsOf } = await session(2_000)
    await client.cancelTask({ sessionId: 's', messageId: 'oldest' })
    await client.sendMessage({ ...send, messageId: 'above', content: 'x' })
    await client.sendMessage({ ...send, messageId: 'below', parentMessageId: 'above', content: 'x' })
    expect((await readsOf(() => client.pendingAsks('s'))).count).toBeLessThan(300)
    const cancelled = await readsOf(() => client.cancelTask({ sessionId: 's', messageId: 'above' }))
    expect(cancelled.count).toBeLessThan(500)
    expect(await client.getTask({ sessionId: 's', messageId: 'below' })).toMatchObject({ status: 'CANCELLED' })
  })

  test('the oldest is found as well, also by an index that does not count', { timeout: 60_000 }, async () => {
    const { house, kin } = await session(1_000)
    const oldest = [{ messageId: 'oldest', parentMessageId: '', isEnded: false }]
    expect(await kin.open('s')).toEqual(oldest)
    await house.redis.zrem(house.keys.session('s'), '')
    expect(await kin.open('s')).toEqual(oldest)
  })
})

test('what is open below a task is the same as in all of its session, through those that have ended', async () => {
  const house = new House()
  const kin = new KinReader(connect().client('patient'), house.keys)
  const client = house.client()
  const ids = Array.from({ length: 60 }, (_, index) => `m-${index}`)
  for (const [index, messageId] of ids.entries()) {
    const parentMessageId = index < 3 ? undefined : ids[Math.floor(index / 3)]
    await client.sendMessage({ ...send, messageId, parentMessageId, content: 'x' })
  }
  // Those end alone, as tasks do whose handlers have come to their ends.
  for (const index of [1, 4, 5, 20, 33, 59]) {
    await house.redis.hset(house.keys.task('s', ids[index] as string), 'fence', 'C:1:1-1:w')
    await house.redis.zincrby(house.keys.session('s'), 1, '')
  }
  const [all, open] = [new Kinship(await kin.all('s')), new Kinship(await kin.open('s'))]
  const openBelow = (kinship: Kinship, id: string) =>
    kinship.below(id).flatMap(({ isEnded, messageId }) => (isEnded ? [] : [messageId]))
  for (const id of ids) expect(openBelow(open, id).sort()).toEqual(openBelow(all, id).sort())
  expect(openBelow(all, 'm-1').length).toBeGreaterThan(10)
})
