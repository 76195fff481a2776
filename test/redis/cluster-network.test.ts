import { Cluster } from 'ioredis'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { GatewayClient } from '../../src/client/client.ts'
import { RedisConnections } from '../../src/redis/connections.ts'
import { Keys, PRIORITIES } from '../../src/redis/keys.ts'
import { listenersOf } from '../../src/redis/listeners.ts'
import { resolveRedisOption } from '../../src/redis/options.ts'
import { ControlReader } from '../../src/store/control-reader.ts'
import type { LocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { sleep } from '../../src/util/sleep.ts'
import { runWorker } from '../../src/worker/run-worker.ts'
import { formCluster, startNodes } from '../support/cluster.ts'
import { Network, redisOf } from '../support/network.ts'
import { unhandledRejections } from '../support/rejections.ts'
import { FunctionWorker, memoryLogger } from '../worker/harness.ts'

/** Enough for each master to have some. */
const SESSIONS = Array.from({ length: 12 }, (_, index) => `s-${index}`)
const keys = new Keys('queue')
let servers: LocalRedis[] = []
let bare: Cluster

beforeAll(async () => {
  servers = await startNodes(3, ['--cluster-node-timeout', '2000'])
  await formCluster(servers)
  bare = new Cluster(
    servers.map(({ port }) => ({ host: '127.0.0.1', port })),
    { redisOptions: { disconnectTimeout: 100 } },
  )
  bare.on('error', () => undefined)
}, 40_000)

afterAll(async () => {
  bare?.disconnect()
  await Promise.all(servers.map((server) => server.stop()))
})

/** A client behind a network of its own. */
async function open(logger = memoryLogger(), user?: { username: string; password: string }) {
  const network = await Network.lay({ nodes: servers, isCluster: true })
  onTestFinished(() => network.stop())
  const redis = redisOf(network.way) as Cluster
  Object.assign(redis.options, { redisOptions: { ...redis.options.redisOptions, ...user } })
  const client = new GatewayClient({ redis, logger })
  onTestFinished(() => client.close())
  return { network, client }
}

/** Reads all sessions from now on; answers what was read. */
async function readAll(client: GatewayClient): Promise<Set<string>> {
  const read = new Set<string>()
  const subscriptions = SESSIONS.map((session) => client.subscribe(session))
  await Promise.all(subscriptions.map((subscription) => subscription.opened()))
  for (const subscription of subscriptions) {
    void (async () => {
      for await (const event of subscription) read.add(`${event.sessionId} ${event.type === 'chunk' && event.content}`)
    })()
  }
  return read
}

/** How many of the sessions' channels somebody hears, with what the masters know. */
async function heard(): Promise<number> {
  const channels = SESSIONS.map((session) => keys.data(session))
  const counts = await Promise.all(
    bare.nodes('master').map(async (node) => (await node.call('PUBSUB', 'SHARDCHANNELS')) as string[]),
  )
  return counts.flat().filter((channel) => channels.includes(channel)).length
}

test('who listens behind a network that went away without a word listens anew, and who comes then is not kept waiting', async () => {
  const { network, client } = await open()
  await readAll(client)
  expect(await heard()).toBe(SESSIONS.length)
  network.blackHole()
  network.pass()
  // Nobody behind the hole hears of that.
  for (const node of bare.nodes('master')) await node.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  expect(await heard()).toBe(0)
  const others = SESSIONS.map((session) => client.subscribe(`later-${session}`))
  onTestFinished(() => void Promise.all(others.map((other) => other.return())))
  await Promise.all(others.map((other) => other.opened()))
  await waitFor(async () => (await heard()) === SESSIONS.length, { timeoutMs: 5_000, message: 'all to be heard again' })
}, 20_000)

test('channels that a master does not let us hear after a loss are heard again once it does', async () => {
  const call = (...args: string[]) => Promise.all(bare.nodes('master').map((node) => node.call('ACL', ...args)))
  await call('SETUSER', 'reader', 'on', '>secret', '~*', '&*', '+@all')
  const rejections = unhandledRejections()
  const logger = memoryLogger()
  const { client } = await open(logger, { username: 'reader', password: 'secret' })
  await readAll(client)
  expect(await heard()).toBe(SESSIONS.length)
  await call('SETUSER', 'reader', 'resetchannels')
  const refused = () => logger.lines.filter(({ message }) => message.startsWith('Redis refused to push events again'))
  await waitFor(() => refused().length > 0, { message: 'the refusal to be told' })
  await call('SETUSER', 'reader', 'allchannels')
  await waitFor(async () => (await heard()) === SESSIONS.length, { timeoutMs: 5_000, message: 'all to be heard again' })
  expect(rejections).toEqual([])
}, 20_000)

test('what was to be sent again when a client is closed is given up then', async () => {
  const network = await Network.lay({ nodes: servers, isCluster: true })
  onTestFinished(() => network.stop())
  const connections = new RedisConnections(resolveRedisOption(redisOf(network.way)), memoryLogger())
  const client = connections.client('patient')
  await Promise.all(SESSIONS.map((session) => client.call('GET', session)))
  network.blackHole()
  const answers = Promise.allSettled(SESSIONS.map((session) => client.call('GET', session)))
  network.cut()
  // ioredis waits 100 ms before it sends them again.
  await sleep(30)
  connections.close()
  const isRefused = { status: 'rejected', reason: { code: 'GW_CLOSED' } }
  expect(await answers).toMatchObject(SESSIONS.map(() => isRefused))
})

test('a task that is given back while connections are lost is not begun as well where it was', async () => {
  const network = await Network.lay({ nodes: servers, isCluster: true })
  onTestFinished(() => network.stop())
  const ran: unknown[] = []
  const gates = [deferred(), deferred()] as const
  const worker = await runWorker({
    ...{
      redis: redisOf(network.way),
      workerId: 'w',
      maxConcurrency: 1,
      shutdownTimeoutMs: 500,
      logger: memoryLogger(),
    },
    worker: new FunctionWorker(['giver'], async ({ content }) => {
      ran.push(content)
      await gates[ran.length - 1]?.promise
      return content
    }),
  })
  onTestFinished(() => worker.stop())
  const client = new GatewayClient({ redis: redisOf(network.way), logger: memoryLogger() })
  onTestFinished(() => client.close())
  const late = deferred()
  const release = vi.spyOn(ControlReader.prototype, 'release')
  release.mockImplementationOnce(async function (this: ControlReader, ...args) {
    await late.promise
    return this.release(...args)
  })
  const takeUnheard = vi.spyOn(ControlReader.prototype, 'takeUnheard')
  onTestFinished(() => void vi.restoreAllMocks())
  const to = { targetAgentType: 'giver', sessionId: 's' }
  const asks = (['high', 'low'] as const).map((priority) => client.ask({ ...to, priority, content: priority }))
  // Each lane is waited for by a read of its own, and there is room for one.
  await waitFor(() => release.mock.calls.length === 1, { message: 'one to be given back' })
  gates[0].resolve()
  network.cut()
  const looked = () => takeUnheard.mock.settledResults.filter(({ type }) => type === 'fulfilled').length
  await waitFor(() => looked() >= 3, {
    timeoutMs: 5_000,
    message: 'all lanes to be looked at for what was not heard of',
  })
  await sleep(100)
  late.resolve()
  await waitFor(() => ran.length === 2)
  await waitFor(() => release.mock.settledResults.every(({ type }) => type === 'fulfilled'))
  const lanes = PRIORITIES.map((priority) => keys.control('giver', priority))
  const pending = await Promise.all(lanes.map((lane) => bare.xpending(lane, 'agent_engines')))
  expect(pending.map(([count]) => count as number).reduce((a, b) => a + b)).toBe(1)
  gates[1].resolve()
  expect((await Promise.all(asks)).map(({ data }) => data)).toEqual(['high', 'low'])
  expect(ran).toHaveLength(2)
})

test('who listens and loses all masters while connections are being made listens again', async () => {
  const cluster = servers.map(({ port }) => ({ host: '127.0.0.1', port }))
  const connections = new RedisConnections(resolveRedisOption({ cluster }), memoryLogger())
  onTestFinished(() => connections.close())
  const subscriber = connections.subscriber() as Cluster
  await subscriber.connect()
  for (const session of SESSIONS) await subscriber.ssubscribe(session)
  const isBack = deferred()
  subscriber.once('+subscriber', () => {
    setImmediate(() => {
      expect(listenersOf(subscriber).map(({ status }) => status)).toContain('connecting')
      subscriber.once('ready', isBack.resolve)
      // What ioredis does when it can ask none of them for its slots.
      subscriber.disconnect(true)
    })
  })
  for (const listener of listenersOf(subscriber)) listener.stream.destroy()
  await isBack.promise
  const hears = () => subscriber.ssubscribe('another').catch(() => undefined)
  await waitFor(async () => (await hears()) !== undefined, { timeoutMs: 5_000, message: 'a channel to be heard' })
})
