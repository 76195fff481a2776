import { expect, onTestFinished, test } from 'vitest'
import { GatewayError } from '../../src/errors.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { House } from '../worker/harness.ts'

/** A house whose client's pub/sub connection is open and answers nothing any more; all else works. */
async function houseWithDeafSubscriber() {
  const house = new House()
  const proxy = await TcpProxy.start(Number(new URL(house.url).port))
  onTestFinished(() => proxy.stop())
  const client = house.client({ redis: proxy.url })
  await client.subscribe('heard').opened()
  expect(proxy.blackHole(({ use }) => use === 'subscriber')).toBe(1)
  return { house, client }
}

test('a result whose session cannot be heard is given up in time', async () => {
  const { client } = await houseWithDeafSubscriber()
  const result = client.result({ sessionId: 'unheard', messageId: 'm', timeoutMs: 200 })
  await expect(result).rejects.toSatisfy((error) => error instanceof GatewayError && error.code === 'GW_TIMEOUT')
})

test('a subscription that never opens ends by its signal and by return()', async () => {
  const { client } = await houseWithDeafSubscriber()
  const controller = new AbortController()
  const byNext = client.subscribe('unheard', { signal: controller.signal }).next()
  const other = client.subscribe('unheard-too')
  const byReturn = other.next()
  controller.abort()
  await expect(byNext).resolves.toMatchObject({ done: true })
  await other.return()
  await expect(byReturn).resolves.toMatchObject({ done: true })
})
