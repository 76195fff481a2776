import { once } from 'node:events'
import { connect as connectSocket, createServer, type Socket } from 'node:net'
import { Transform } from 'node:stream'
import { expect, onTestFinished, test } from 'vitest'
import { checkServer } from '../../src/redis/server-check.ts'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'
import { runWorker } from '../../src/worker/run-worker.ts'
import { FunctionWorker, memoryLogger } from '../worker/harness.ts'
import { connect } from './harness.ts'

async function startRedis(...args: string[]) {
  const redis = await startLocalRedis({ fresh: true, args })
  onTestFinished(() => redis.stop())
  return redis
}

/** A door to a real Redis that calls itself another version; both texts have one length. */
async function disguise(port: number, from: string, to: string): Promise<number> {
  const sockets = new Set<Socket>()
  const door = createServer((inside) => {
    const outside = connectSocket(port, '127.0.0.1')
    for (const socket of [inside, outside]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => sockets.delete(socket))
    }
    const rewrite = new Transform({
      transform: (chunk: Buffer, _encoding, done) =>
        done(
          null,
          Buffer.from(chunk.toString('latin1').replaceAll(`redis_version:${from}`, `redis_version:${to}`), 'latin1'),
        ),
    })
    inside.pipe(outside)
    outside.pipe(rewrite).pipe(inside)
    inside.on('close', () => outside.destroy())
  }).listen(0, '127.0.0.1')
  await once(door, 'listening')
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    door.close()
    await once(door, 'close')
  })
  return (door.address() as { port: number }).port
}

test('all is well with a file that is appended to and without eviction', async () => {
  const { url } = await startRedis('--appendonly', 'yes')
  const report = await checkServer(connect(url).client('patient'))
  expect(report.version).toMatch(/^\d+\.\d+\.\d+/)
  expect(report.warnings).toEqual([])
})

test('what endangers accepted tasks is warned of, in sentences that say what to do', async () => {
  const { url } = await startRedis('--maxmemory-policy', 'allkeys-lru')
  const { warnings } = await checkServer(connect(url).client('patient'))
  expect(warnings).toEqual([
    expect.stringMatching(/^maxmemory-policy is 'allkeys-lru'.*noeviction/),
    expect.stringMatching(/^appendonly is off.*appendonly yes/),
  ])
})

test('a worker logs the warnings once, and starts', async () => {
  const { url } = await startRedis()
  const logger = memoryLogger()
  const worker = await runWorker({ redis: url, logger, worker: new FunctionWorker(['agent'], () => null) })
  await worker.stop()
  expect(logger.lines.filter(({ level }) => level === 'warn').map(({ message }) => message)).toEqual([
    expect.stringMatching(/^appendonly is off/),
  ])
})

test('a server that is too old is refused with both versions, and nothing stays open', async () => {
  const { url, port } = await startRedis()
  const { version } = await checkServer(connect(url).client('patient'))
  const old = '6.0.999999'.slice(0, version.length)
  const door = await disguise(port, version, old)
  const options = { logger: memoryLogger(), worker: new FunctionWorker(['agent'], () => null) }
  await expect(runWorker({ ...options, redis: { host: '127.0.0.1', port: door } })).rejects.toMatchObject({
    ...{ code: 'GW_REDIS_UNSUPPORTED', message: `Redis ${old} is too old, this library needs 6.2 or newer` },
  })
  const young = '6.2.999999'.slice(0, version.length)
  const other = await disguise(port, version, young)
  const worker = await runWorker({ ...options, redis: { host: '127.0.0.1', port: other } })
  await worker.stop()
})

test('a version with a known fault in its stream commands is warned of, the one that has it mended is not', async () => {
  const server = await startRedis('--appendonly', 'yes')
  const { version } = await checkServer(connect(server.url).client('patient'))
  const warned = async (other: string) => {
    const port = await disguise(server.port, version, other.padStart(version.length, '0'))
    return (await checkServer(connect(`redis://127.0.0.1:${port}`).client('patient'))).warnings
  }
  expect(await warned('8.2.2')).toEqual([expect.stringMatching(/8\.2\.2 has a known fault.*CVE-2025-62507.*8\.2\.3/)])
  expect(await warned('8.2.3')).toEqual([])
})
