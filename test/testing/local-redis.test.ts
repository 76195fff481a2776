import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test } from 'vitest'
import { LocalServerError, type LocalServerOptions } from '../../src/testing/servers/local-server.ts'
import { type LocalRedis, startLocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { isAlive } from '../support/processes.ts'

async function startRedis(options: LocalServerOptions = {}): Promise<LocalRedis> {
  const redis = await startLocalRedis({ fresh: true, ...options })
  onTestFinished(() => redis.stop())
  return redis
}

function connect(redis: LocalRedis): Redis {
  const client = new Redis(redis.url, { retryStrategy: () => 20 })
  client.on('error', () => undefined) // the server goes away on purpose here
  onTestFinished(() => client.disconnect())
  return client
}

describe('a fresh Redis', () => {
  test('is ready at once, on 127.0.0.1 only, and keeps nothing on disk', async () => {
    const redis = await startRedis()
    const client = connect(redis)
    expect(await client.ping()).toBe('PONG')
    expect(redis.url).toBe(`redis://127.0.0.1:${redis.port}/0`)
    expect(['binary', 'installed']).toContain(redis.source)
    expect(await client.config('GET', 'bind')).toEqual(['bind', '127.0.0.1'])
    expect(await client.config('GET', 'save')).toEqual(['save', ''])
    expect(await client.config('GET', 'appendonly')).toEqual(['appendonly', 'no'])
    expect(await client.config('GET', 'dir')).toEqual(['dir', redis.folder])
    expect(await client.info('server')).toContain(`process_id:${redis.pid}\r\n`)
  })

  test('can be taken apart: its methods need no object before them', async () => {
    const { pid = 0, stop, restart } = await startLocalRedis({ fresh: true })
    onTestFinished(stop)
    await restart()
    expect(isAlive(pid)).toBe(false)
  })

  test('takes further arguments, which win', async () => {
    const redis = await startRedis({ args: ['--appendonly', 'yes', '--maxmemory', '123mb'] })
    const client = connect(redis)
    expect(await client.config('GET', 'appendonly')).toEqual(['appendonly', 'yes'])
    expect(await client.config('GET', 'maxmemory')).toEqual(['maxmemory', String(123 * 1024 * 1024)])
  })

  test('is found ready with a password too', async () => {
    const redis = await startRedis({ args: ['--requirepass', 'secret'] })
    const client = new Redis(redis.url, { password: 'secret' })
    onTestFinished(() => client.disconnect())
    expect(await client.ping()).toBe('PONG')
  })

  test('is not the one that the environment names', async () => {
    const redis = await startRedis({ env: { ...process.env, REDIS_URL: 'redis://127.0.0.1:1' } })
    expect(redis.source).not.toBe('url')
  })

  test('starts twenty times over, five at once, each on a port and with data of its own', async () => {
    const ports = new Set<number>()
    for (let batch = 0; batch < 4; batch += 1) {
      const servers = await Promise.all(Array.from({ length: 5 }, () => startLocalRedis({ fresh: true })))
      for (const redis of servers) {
        ports.add(redis.port)
        const client = new Redis(redis.url)
        expect(await client.dbsize()).toBe(0)
        await client.set('taken', batch)
        client.disconnect()
      }
      const pids = servers.map((redis) => redis.pid ?? 0)
      const folders = servers.map((redis) => redis.folder ?? '')
      await Promise.all(servers.map((redis) => redis.stop()))
      expect(pids.filter(isAlive)).toEqual([])
      expect(folders.filter((folder) => existsSync(folder))).toEqual([])
    }
    expect(ports.size).toBeGreaterThanOrEqual(19) // by chance a freed port may come again
  })

  test('warns of no leak when many run at once', async () => {
    const warnings: Error[] = []
    const listen = (warning: Error) => warnings.push(warning)
    process.on('warning', listen)
    onTestFinished(() => void process.off('warning', listen))
    for (let batch = 0; batch < 3; batch += 1) await Promise.all(Array.from({ length: 5 }, () => startRedis()))
    await sleep(10)
    expect(warnings).toEqual([])
  })
})

describe('stop', () => {
  test('leaves neither process nor folder, and may be called again', async () => {
    const redis = await startRedis()
    const { pid = 0, folder = '' } = redis
    expect(isAlive(pid)).toBe(true)
    expect(existsSync(folder)).toBe(true)
    await Promise.all([redis.stop(), redis.stop()])
    await redis.stop()
    expect(isAlive(pid)).toBe(false)
    expect(existsSync(folder)).toBe(false)
    expect(redis.pid).toBeUndefined()
    await expect(redis.restart()).rejects.toThrow(LocalServerError)
  })

  test('comes with the end of an `await using` block', async () => {
    let pid = 0
    {
      await using redis = await startLocalRedis({ fresh: true })
      pid = redis.pid ?? 0
      expect(isAlive(pid)).toBe(true)
    }
    expect(isAlive(pid)).toBe(false)
  })

  test('ends a frozen server too, and one that is dead already', async () => {
    const frozen = await startRedis()
    const dead = await startRedis()
    const pids = [frozen.pid ?? 0, dead.pid ?? 0]
    frozen.kill('SIGSTOP')
    dead.kill('SIGKILL')
    await waitFor(() => dead.pid === undefined)
    await Promise.all([frozen.stop(), dead.stop()])
    expect(pids.filter(isAlive)).toEqual([])
  })
})

describe('restart', () => {
  test('keeps port and data with an append-only file', async () => {
    const redis = await startRedis({ args: ['--appendonly', 'yes'] })
    const client = connect(redis)
    const { port, pid } = redis
    await client.set('kept', 'yes')
    await redis.restart()
    expect(redis.port).toBe(port)
    expect(redis.pid).not.toBe(pid)
    expect(await client.get('kept')).toBe('yes')
  })

  test('starts empty without one', async () => {
    const redis = await startRedis()
    const client = connect(redis)
    await client.set('lost', 'yes')
    await redis.restart()
    expect(await client.get('lost')).toBeNull()
  })

  test('brings back a killed server, while clients hammer its port', async () => {
    const redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
    const clients = Array.from({ length: 10 }, () => connect(redis))
    await clients[0]?.set('kept', 'yes')
    for (let round = 0; round < 3; round += 1) {
      redis.kill('SIGKILL')
      await waitFor(() => redis.pid === undefined)
      await sleep(50)
      await redis.restart()
      expect(await Promise.all(clients.map((client) => client.get('kept')))).toEqual(clients.map(() => 'yes'))
    }
  })

  test('takes its turn: several at once, then a stop', async () => {
    const redis = await startRedis()
    const restarts = [redis.restart(), redis.restart()]
    const stopped = redis.stop()
    await Promise.all([...restarts, stopped])
    expect(redis.pid).toBeUndefined()
  })
})

test('a signal freezes the server and lets it go on', async () => {
  const redis = await startRedis()
  const client = connect(redis)
  await client.ping()
  redis.kill('SIGSTOP')
  const answer = client.ping()
  const early = await Promise.race([answer, sleep(200, 'silence')])
  redis.kill('SIGCONT')
  expect(early).toBe('silence')
  expect(await answer).toBe('PONG')
})
