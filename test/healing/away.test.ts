import { expect, test } from 'vitest'
import { GatewayClient } from '../../src/client/client.ts'
import { findFreePort } from '../../src/testing/servers/free-port.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { sleep } from '../../src/util/sleep.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { House, memoryLogger } from '../worker/harness.ts'

/** A client of a server that is not there. */
async function lostClient(): Promise<GatewayClient> {
  const client = new GatewayClient({ redis: `redis://127.0.0.1:${await findFreePort()}/0`, logger: memoryLogger() })
  onTestFinished(() => client.close())
  return client
}

const message = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

test.concurrent('however many sends wait for a server that is away, each is given up in its time, and later ones at once', {
  timeout: 40_000,
}, async () => {
  const client = await lostClient()
  const before = performance.now()
  const sends = await Promise.allSettled(Array.from({ length: 1_000 }, () => client.sendMessage(message)))
  expect(performance.now() - before).toBeLessThan(14_000)
  for (const send of sends) {
    expect(send).toMatchObject({ status: 'rejected', reason: { code: 'GW_REDIS_FAILED' } })
  }
  const late = performance.now()
  await expect(client.sendMessage(message)).rejects.toMatchObject({
    ...{ code: 'GW_REDIS_FAILED', message: expect.stringMatching(/has been away for \d+ s/) },
  })
  expect(performance.now() - late).toBeLessThan(500)
})

test.concurrent('who asks with a limit of time waits no longer for a server that is away', async () => {
  const client = await lostClient()
  const before = performance.now()
  await expect(client.ask({ ...message, timeoutMs: 300 })).rejects.toMatchObject({ code: 'GW_TIMEOUT' })
  const controller = new AbortController()
  const asked = client.ask({ ...message, signal: controller.signal })
  controller.abort(new Error('no more'))
  await expect(asked).rejects.toThrow('no more')
  expect(performance.now() - before).toBeLessThan(2_000)
})

test.concurrent('nor does a server that lets us connect and refuses, however much is sent to it', {
  timeout: 60_000,
}, async () => {
  const house = await House.private()
  const client = house.client()
  await client.sendMessage(message)
  // A replica of nobody who answers: it refuses writes.
  await house.redis.call('REPLICAOF', '127.0.0.1', await findFreePort())
  const open = new Set<Promise<unknown>>()
  const longest = { ms: 0 }
  const put = (asked: Promise<unknown>) => {
    const began = performance.now()
    const over = () => {
      open.delete(settled)
      longest.ms = Math.max(longest.ms, performance.now() - began)
    }
    const settled = asked.then(over, over)
    open.add(settled)
  }
  // Without a pause, so that some meet the moments between a new connection and its first refusal.
  const until = performance.now() + 20_000
  while (performance.now() < until) {
    put(client.sendMessage(message))
    await sleep(1)
  }
  // What has come shortly before the server was given up still has its time.
  await waitFor(() => open.size < 500, { timeoutMs: 5_000 })
  await Promise.all(open)
  expect(longest.ms).toBeLessThan(21_000)
  await house.redis.call('REPLICAOF', 'NO', 'ONE')
  const answers = async () => (await client.sendMessage(message).catch(() => undefined))?.success === true
  await waitFor(answers, { timeoutMs: 4_000 })
  const sends = await Promise.all(Array.from({ length: 100 }, () => client.sendMessage(message)))
  expect(sends.every(({ success }) => success)).toBe(true)
})
