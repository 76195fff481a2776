import { afterEach, describe, expect, test, vi } from 'vitest'
import { GatewayWorker } from '../../src/agent/worker.ts'
import { GatewayClient } from '../../src/client/client.ts'
import { createLogger } from '../../src/logger.ts'
import { resolveRedis } from '../../src/redis/environment.ts'
import { runWorker } from '../../src/worker/run-worker.ts'
import { freshPrefix, testRedisUrl } from '../support/redis.ts'

describe('without an option, Redis is', () => {
  test.each<[Record<string, string>, string, object]>([
    [{}, '127.0.0.1:6379/0', {}],
    [{ REDIS_URL: '', REDIS_PORT: '' }, '127.0.0.1:6379/0', {}],
    [{ REDIS_URL: 'redis://there:7000/2', REDIS_HOST: 'other', REDIS_DB: '5' }, 'there:7000/2', {}],
    [{ REDIS_URL: 'redis://there', REDIS_PASSWORD: 'p@' }, 'there:6379/0', { password: 'p@' }],
    [
      { REDIS_URL: 'redis:///3', REDIS_USERNAME: 'u', REDIS_PASSWORD: 'p' },
      '127.0.0.1:6379/3',
      { username: 'u', password: 'p' },
    ],
    [{ REDIS_URL: 'redis://a:b@there', REDIS_USERNAME: 'u' }, 'there:6379/0', { username: 'a', password: 'b' }],
    [{ REDIS_HOST: 'there', REDIS_PORT: '7000', REDIS_DB: '3' }, 'there:7000/3', { db: 3 }],
    [{ REDIS_HOST: 'there', REDIS_TLS: 'yes' }, 'there:6379/0', { tls: { servername: 'there' } }],
    [{ REDIS_PORT: 'tcp://10.96.0.7:6380' }, '127.0.0.1:6380/0', {}],
    [{ REDIS_SENTINELS: 's:26379', REDIS_SENTINEL_NAME: 'main' }, "sentinel 'main'", { name: 'main' }],
  ])('as the environment says: %j', (env, target, options) => {
    expect(resolveRedis(undefined, env)).toMatchObject({ kind: 'standalone', target, options })
  })

  test('a Cluster, too', () => {
    expect(resolveRedis(undefined, { REDIS_CLUSTER: 'a:1,b:2' })).toMatchObject({ target: 'cluster a:1,b:2' })
  })

  test('but an option says all', () => {
    const env = { REDIS_URL: 'nonsense', REDIS_PORT: 'x', REDIS_PASSWORD: 'p', REDIS_DB: '3' }
    const resolved = resolveRedis({ host: 'h' }, env)
    expect(resolved).toEqual({ kind: 'standalone', target: 'h:6379/0', options: { host: 'h', port: 6379, db: 0 } })
  })
})

test.each<[Record<string, string>, string]>([
  [{ REDIS_URL: 'localhost:6379' }, 'REDIS_URL is invalid: expected redis:// or rediss://'],
  [{ REDIS_URL: 'redis://h/one' }, 'REDIS_URL is invalid: the path must be a database number'],
  [{ REDIS_PORT: 'many' }, 'REDIS_PORT is invalid: must be a number (got "many")'],
  [{ REDIS_PORT: '99999' }, 'REDIS_PORT is invalid'],
  [{ REDIS_DB: '-1' }, 'REDIS_DB is invalid'],
  [{ REDIS_TLS: 'maybe' }, 'REDIS_TLS is invalid: must be true or false (got "maybe")'],
  [{ REDIS_CLUSTER: 'a' }, 'REDIS_CLUSTER is invalid: must be host:port,host:port (got "a")'],
  [{ REDIS_CLUSTER: 'a:0' }, 'REDIS_CLUSTER is invalid'],
  [{ REDIS_SENTINELS: 's:1' }, 'REDIS_SENTINEL_NAME is invalid: Sentinels need it'],
])('a bad value is refused by the name of its variable: %j', (env, message) => {
  expect(() => resolveRedis(undefined, env)).toThrow(message)
  expect(() => resolveRedis(undefined, env)).toThrow(expect.objectContaining({ code: 'GW_INVALID_ARGUMENT' }))
})

describe('a worker and a client', () => {
  class Echo extends GatewayWorker {
    getCapabilities() {
      return ['echo']
    }

    processCommand() {
      return Promise.resolve('heard')
    }
  }

  afterEach(() => void vi.unstubAllEnvs())

  test('meet where the environment says', async () => {
    vi.stubEnv('REDIS_URL', testRedisUrl())
    const keyPrefix = freshPrefix()
    await using _worker = await runWorker({ workerClass: Echo, keyPrefix, logger: createLogger('silent') })
    await using client = new GatewayClient({ keyPrefix })
    const answer = await client.ask({ targetAgentType: 'echo', sessionId: 's-1', content: 'hello' })
    expect(answer).toMatchObject({ status: 'COMPLETED', data: 'heard' })
  })

  test('refuse what they cannot read there', async () => {
    vi.stubEnv('REDIS_URL', 'http://there')
    expect(() => new GatewayClient()).toThrow('REDIS_URL is invalid')
    await expect(runWorker({ workerClass: Echo })).rejects.toThrow('REDIS_URL is invalid')
  })
})
