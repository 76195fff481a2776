import { expect, test } from 'vitest'
import { LUA } from '../../src/redis/lua.generated.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import type { ProxiedConnection } from '../support/proxied-connection.ts'
import { Ward } from './ward.ts'

/** Long enough that what is taken over by it would be late. */
const LONG_LEASE_MS = 30_000

/** The worker's blocking read of its control streams; its inbox has another. */
const isRead = ({ use, commands }: ProxiedConnection) => use === 'blocking' && commands.has('XREADGROUP')

test('tasks whose delivery was lost on the way are taken again, long before their lease runs out', {
  timeout: 40_000,
}, async () => {
  const ward = await Ward.open({ work: { leaseMs: LONG_LEASE_MS } })
  await ward.backAtWork()
  await waitFor(() => ward.proxy.connections(isRead).length === 1)
  expect(ward.proxy.blackHole(isRead, 'down')).toBe(1)
  // The server hands it out, and nobody hears of it.
  await ward.client.sendMessage({ targetAgentType: 'agent', sessionId: 's', messageId: 'unheard', content: 'quick' })
  ward.accepted.push('unheard')
  await waitFor(async () => (await ward.house.pending()) === 1)
  expect(ward.starts.has('unheard')).toBe(false)
  await ward.settled(LONG_LEASE_MS / 3)
  expect(ward.starts.get('unheard')).toBe(1)
})

test('writes whose answers were lost are written once', { timeout: 40_000 }, async () => {
  const ward = await Ward.open({ work: { leaseMs: LONG_LEASE_MS } })
  await ward.hold()
  const result = ward.result()
  const isWriting = (connection: { hasRun(sha: string): boolean }) => connection.hasRun(LUA.say.sha)
  await waitFor(() => ward.proxy.connections(isWriting).length === 1)
  expect(ward.proxy.blackHole(isWriting, 'down')).toBe(1)
  ward.gate.open()
  expect(await result).toMatchObject({ status: 'COMPLETED', data: 'held', content: 'held' })
  await ward.settled()
  expect(ward.seen.map((event) => (event.type === 'chunk' ? event.content : event.type))).toEqual([
    'one ',
    'two',
    'done',
  ])
})

test('a send whose answer was lost is sent again, and its task runs once', { timeout: 40_000 }, async () => {
  const ward = await Ward.open({ work: { leaseMs: LONG_LEASE_MS } })
  await ward.backAtWork()
  const isSending = (connection: { hasRun(sha: string): boolean }) => connection.hasRun(LUA.send.sha)
  expect(ward.proxy.blackHole(isSending, 'down')).toBe(1)
  const sent = await ward.client.sendMessage({
    ...{ targetAgentType: 'agent', sessionId: 's', messageId: 'twice', content: 'quick' },
  })
  expect(sent).toMatchObject({ status: 'QUEUED' })
  ward.accepted.push('twice')
  await ward.settled()
  expect(ward.starts.get('twice')).toBe(1)
})
