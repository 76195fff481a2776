import { beforeEach, expect, test, vi } from 'vitest'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'

// What is asked of testcontainers, without an engine: the last container and every call on it.
const engine = vi.hoisted(() => ({ isThere: true, failures: [] as string[], calls: new Map<string, unknown[][]>() }))

vi.mock('testcontainers', () => {
  const record = (name: string, args: unknown[]) => engine.calls.set(name, [...(engine.calls.get(name) ?? []), args])
  const started = {
    getHost: () => 'docker.example',
    stop: async (...args: unknown[]) => record('stop', args),
    restart: async (...args: unknown[]) => record('restart', args),
  }
  class GenericContainer {
    constructor(...args: unknown[]) {
      record('new', args)
    }
    withEnvironment = this.#recorder('withEnvironment')
    withCommand = this.#recorder('withCommand')
    withExposedPorts = this.#recorder('withExposedPorts')
    withWaitStrategy = this.#recorder('withWaitStrategy')
    withStartupTimeout = this.#recorder('withStartupTimeout')

    async start() {
      const failure = engine.failures.shift()
      if (failure !== undefined) throw new Error(failure)
      return started
    }

    #recorder(name: string) {
      return (...args: unknown[]) => {
        record(name, args)
        return this
      }
    }
  }
  return {
    GenericContainer,
    Wait: { forLogMessage: (line: RegExp, times: number) => ({ line, times }) },
    getContainerRuntimeClient: async () => {
      if (!engine.isThere) throw new Error('Could not find a working container runtime strategy')
    },
  }
})

const env = { PATH: '' } // no program, no apt-get

beforeEach(() => {
  engine.isThere = true
  engine.failures = []
  engine.calls.clear()
})

test('a Redis is started in a container where no program is found', async () => {
  const messages: string[] = []
  const redis = await startLocalRedis({ env, args: ['--maxmemory', '1gb'], log: (message) => messages.push(message) })
  expect(redis).toMatchObject({ source: 'container', pid: undefined, folder: undefined })
  expect(redis.url).toBe(`redis://docker.example:${redis.port}/0`)
  expect(messages).toEqual(['starting Redis in a container (redis:7)'])
  expect(engine.calls.get('new')).toEqual([['redis:7']])
  expect(engine.calls.get('withExposedPorts')).toEqual([[{ container: 6379, host: redis.port }]])
  expect(engine.calls.get('withCommand')).toEqual([
    [['redis-server', '--save', '', '--appendonly', 'no', '--maxmemory', '1gb']],
  ])
  expect(() => redis.kill('SIGKILL')).toThrow('takes no signals')
  await redis.restart()
  await Promise.all([redis.stop(), redis.stop()])
  expect(engine.calls.get('restart')).toHaveLength(1)
  expect(engine.calls.get('stop')).toHaveLength(1)
})

test('on the port that was asked for', async () => {
  const redis = await startLocalRedis({ env, port: 20_001 })
  expect(redis.port).toBe(20_001)
  expect(engine.calls.get('withExposedPorts')).toEqual([[{ container: 6379, host: 20_001 }]])
})

test('on another port where the first one was taken in the meantime', async () => {
  engine.failures = ['Bind for 0.0.0.0:20000 failed: port is already allocated']
  expect((await startLocalRedis({ env })).source).toBe('container')
  expect(engine.calls.get('new')).toHaveLength(2)
})

test('a failure is one of the choices in the error', async () => {
  engine.failures = ['no such image']
  await expect(startLocalRedis({ env })).rejects.toThrow(
    'run in a container: the container did not start (no such image)',
  )
  engine.isThere = false
  await expect(startLocalRedis({ env })).rejects.toThrow('run in a container: no container engine answers (Could not')
})
