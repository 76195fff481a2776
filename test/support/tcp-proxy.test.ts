import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { ProxiedConnection } from './proxied-connection.ts'
import { testRedisUrl } from './redis.ts'
import { TcpProxy } from './tcp-proxy.ts'

async function open(): Promise<{ proxy: TcpProxy; redis: () => Redis }> {
  const proxy = await TcpProxy.start(Number(new URL(testRedisUrl()).port))
  onTestFinished(() => proxy.stop())
  const redis = () => {
    const client = new Redis({ port: proxy.port, protocol: 2, retryStrategy: null, disconnectTimeout: 100 })
    client.on('error', () => undefined)
    onTestFinished(() => client.disconnect())
    return client
  }
  return { proxy, redis }
}

test('it passes everything on and knows what a connection is for', async () => {
  const { proxy, redis } = await open()
  const [commands, blocking, subscriber] = [redis(), redis(), redis()]
  const large = 'x'.repeat(4_000_000)
  await commands.set('tcp-proxy-test', large)
  expect(await commands.get('tcp-proxy-test')).toBe(large)
  await commands.del('tcp-proxy-test')
  await blocking.xread('BLOCK', 1, 'STREAMS', 'no-such-stream', '$')
  await subscriber.subscribe('a-channel')
  expect(
    proxy
      .connections()
      .map(({ use }) => use)
      .sort(),
  ).toEqual(['blocking', 'commands', 'subscriber'])
  expect(proxy.connections(({ use }) => use === 'commands')[0]?.commands.get('GET')).toBe(1)
})

test('a cut ends a connection with a reset', async () => {
  const { proxy, redis } = await open()
  const client = redis()
  await client.ping()
  const cut = new Promise((resolve) => client.once('error', resolve))
  expect(proxy.cut()).toBe(1)
  expect(await cut).toMatchObject({ code: 'ECONNRESET' })
  await waitFor(() => proxy.connections().length === 0)
})

test('a hole swallows what comes and keeps the socket open; a new connection passes again', async () => {
  const { proxy, redis } = await open()
  const client = redis()
  await client.ping()
  proxy.blackHole()
  const lost = client.ping().catch(() => 'closed')
  const answer = await Promise.race([lost, new Promise((resolve) => setTimeout(resolve, 200, 'nothing'))])
  expect(answer).toBe('nothing')
  expect(client.status).toBe('ready')
  proxy.pass()
  expect(await redis().ping()).toBe('PONG')
  client.disconnect()
  expect(await lost).toBe('closed')
})

test('a hole in the way back only: the server does what it is told, and nobody hears of it', async () => {
  const { proxy, redis } = await open()
  const client = redis()
  await client.ping()
  const [connection] = proxy.connections()
  const other = redis()
  await other.ping()
  proxy.blackHole((each) => each === connection, 'down')
  const lost = client.set('tcp-proxy-hole', 1).catch(() => 'closed')
  await waitFor(async () => (await other.get('tcp-proxy-hole')) === '1')
  await other.del('tcp-proxy-hole')
  client.disconnect()
  expect(await lost).toBe('closed')
})

test('a delay keeps the order', async () => {
  const { proxy, redis } = await open()
  const client = redis()
  await client.ping()
  proxy.delay(100)
  const before = performance.now()
  const answers = await Promise.all([client.echo('1'), client.echo('2'), client.echo('3')])
  expect(answers).toEqual(['1', '2', '3'])
  expect(performance.now() - before).toBeGreaterThan(190)
})

test('what comes when a delay is over does not come before what was delayed', async () => {
  const { proxy, redis } = await open()
  const client = redis()
  await client.ping()
  proxy.delay(100)
  const delayed = client.incr('tcp-proxy-delay')
  await waitFor(() => proxy.connections()[0]?.commands.get('INCR') === 1)
  proxy.delay(0)
  const later = client.incr('tcp-proxy-delay')
  expect(await Promise.all([delayed, later, client.del('tcp-proxy-delay')])).toEqual([1, 2, 1])
})

test('refused is refused, until it listens again', async () => {
  const { proxy, redis } = await open()
  proxy.refuse()
  await expect(redis().ping()).rejects.toThrow()
  await proxy.listen()
  expect(await redis().ping()).toBe('PONG')
})

test('a cut in the moment in which the client ends its connection closes that, too', async () => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => undefined)
  const [socket] = (await once(server, 'connection')) as [Socket]
  const targetPort = Number(new URL(testRedisUrl()).port)
  const connection = new ProxiedConnection(socket, targetPort, { up: 'pass', down: 'pass', delayMs: 0 })
  client.end()
  await once(socket, 'end')
  connection.cut()
  await connection.closed
})
