import { getMaxListeners, setMaxListeners } from 'node:events'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { GatewayClient } from '../../src/client/client.ts'
import { processWarnings } from '../support/warnings.ts'
import { House } from '../worker/harness.ts'

const task = { sessionId: 's', messageId: 'nobody-takes-it' }

/** What waits until a signal aborts. */
const WAITS: [string, (client: GatewayClient, signal: AbortSignal) => Promise<unknown>][] = [
  [
    'subscriptions',
    async (client, signal) => {
      for await (const _ of client.subscribe('s', { signal })) expect.unreachable('nothing is said')
    },
  ],
  ['results', (client, signal) => client.result({ ...task, signal })],
  ['asks', (client, signal) => client.ask({ targetAgentType: 'agent', sessionId: 's', content: 'x', signal })],
]

test.each(WAITS)('thirty %s may share a signal: Node warns of no leak, and nothing is left at it', async (_, wait) => {
  const warnings = processWarnings()
  const client = new House().client()
  await client.sendMessage({ ...task, targetAgentType: 'agent', content: 'x' })
  const controller = new AbortController()
  const { signal } = controller
  // Newer versions of Node warn of no signal: there it is 0, and stays so.
  const usual = getMaxListeners(signal)
  const waits = Array.from({ length: 30 }, () => wait(client, signal).catch(() => 'aborted'))
  await pause(50)
  const most = getMaxListeners(signal)
  controller.abort()
  await Promise.all(waits)
  await nextTurn()
  expect([warnings, most, getMaxListeners(signal)]).toEqual([[], usual === 0 ? 0 : 40, usual])
})

test('a signal without a limit keeps it', async () => {
  const warnings = processWarnings()
  const client = new House().client()
  const { signal } = new AbortController()
  setMaxListeners(0, signal)
  await client.subscribe('s', { signal, follow: false }).next()
  for (let i = 0; i < 30; i += 1) signal.addEventListener('abort', () => undefined)
  await nextTurn()
  expect(warnings).toEqual([])
})
