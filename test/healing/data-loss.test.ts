import { expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { Ward } from './ward.ts'

test('FLUSHALL under load: groups, presence and readers are there again, who waits is told, nothing runs twice', {
  timeout: 40_000,
}, async () => {
  const ward = await Ward.open()
  await ward.hold()
  let told: unknown
  void ward.result().catch((error: { code?: string }) => {
    told = error.code
  })
  ward.startLoad()
  await waitFor(() => ward.accepted.length > 10)
  await ward.house.redis.flushall()
  expect(await ward.backAtWork()).toBeLessThan(4_000)
  await waitFor(() => ward.aborts.get('held') === 'GW_LEASE_LOST')
  // The session goes on while its lost task is waited for.
  await waitFor(() => told === 'GW_TASK_LOST', { timeoutMs: 12_000 })
  ward.stopLoad()
  await waitFor(async () => (await ward.client.listWorkers()).length === 1)
  await waitFor(() => Object.keys(ward.logged()).some((line) => /Redis lost its data/.test(line)))
  const { 'attempt given up': given = 0, ...once } = ward.logged()
  for (const [line, count] of Object.entries(once)) expect([line, count]).toEqual([line, 1])
  expect(given).toBeGreaterThan(0)
  expect([...ward.starts.values()].filter((count) => count > 1)).toEqual([])
  expect(ward.refusals).toEqual([])
  // What was sent since then has its end, each once, and the open subscription has seen it.
  await waitFor(async () => (await ward.house.waiting()) === 0)
  const entries = await ward.house.redis.xrange(ward.house.keys.data('s'), '-', '+')
  await waitFor(() => ward.seen.at(-1)?.id === entries.at(-1)?.[0])
  expect(ward.seen.slice(-entries.length).map(({ id }) => id)).toEqual(entries.map(([id]) => id))
  expect(new Set(ward.seen.map(({ id }) => id)).size).toBe(ward.seen.length)
  expect((await ward.idleSecond()).commands).toBeLessThan(120)
})

test('XGROUP DESTROY (NOGROUP): the group is made again, what runs goes on, and nothing is lost', {
  timeout: 40_000,
}, async () => {
  const ward = await Ward.open()
  await ward.hold()
  const result = ward.result()
  ward.startLoad()
  await waitFor(() => ward.accepted.length > 10)
  await ward.house.redis.xgroup('DESTROY', ward.house.keys.control('agent'), 'agent_engines')
  expect(await ward.backAtWork()).toBeLessThan(4_000)
  ward.stopLoad()
  ward.gate.open()
  expect(await result).toMatchObject({ status: 'COMPLETED' })
  await ward.settled()
  const logged = ward.logged()
  expect(Object.keys(logged)).toHaveLength(1)
  expect(Object.entries(logged)[0]).toEqual([expect.stringMatching(/^a consumer group was gone/), 1])
  expect(ward.refusals).toEqual([])
})
