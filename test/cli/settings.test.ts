import { describe, expect, test } from 'vitest'
import { redisOption } from '../../src/cli/redis-settings.ts'
import { nameSource, readSettings } from '../../src/cli/settings.ts'
import { WORKER_FLAGS } from '../../src/cli/worker-flags.ts'
import { errorMessage, GatewayError } from '../../src/errors.ts'

const read = (flags: Record<string, unknown>, env: Record<string, string> = {}) =>
  readSettings(WORKER_FLAGS, flags, env)
const redis = (flags: Record<string, unknown>, env?: Record<string, string>) => redisOption(read(flags, env))

describe('a setting', () => {
  test('a flag beats the environment, and what nobody gave is missing', () => {
    expect(read({ leaseMs: '900' }, { BYAI_WORKER_LEASE_MS: '800', BYAI_WORKER_CONCURRENCY: '7' }).values).toEqual({
      leaseMs: 900,
      maxConcurrency: 7,
    })
  })

  test('an empty variable is none', () => {
    expect(read({}, { REDIS_URL: '', BYAI_WORKER_CONCURRENCY: '' }).values).toEqual({})
  })

  test.each([
    [{ leaseMs: '5s' }, {}, '--lease-ms is invalid: must be a number (got "5s")'],
    [{}, { BYAI_WORKER_CONCURRENCY: 'many' }, 'BYAI_WORKER_CONCURRENCY is invalid: must be a number (got "many")'],
    [{}, { REDIS_TLS: 'maybe' }, 'REDIS_TLS is invalid: must be true or false (got "maybe")'],
    [{ redisCluster: 'a:1,b' }, {}, '--redis-cluster is invalid: must be host:port,host:port (got "a:1,b")'],
    [{ plugins: ' ,' }, {}, '--plugins is invalid: must name something between its commas (got " ,")'],
  ])('a bad value is named with its source: %j %j', (flags, env, message) => {
    expect(() => read(flags, env)).toThrow(message)
  })

  test('a comma too many in a list means nothing', () => {
    expect(read({ plugins: 'a, ./b,' }).values.plugins).toEqual(['a', './b'])
  })

  test('what the library refuses is named like the flag or the variable it came from', () => {
    const settings = read({ leaseMs: '1' }, { REDIS_URL: 'http://x', REDIS_PORT: '99999' })
    const named = (field: string) =>
      errorMessage(nameSource(new GatewayError('GW_INVALID_ARGUMENT', { field, reason: 'no' }), settings))
    expect(named('leaseMs')).toBe('--lease-ms is invalid: no')
    expect(named('redis')).toBe('REDIS_URL is invalid: no')
    expect(named('redis.port')).toBe('REDIS_PORT is invalid: no')
    expect(named('maxConcurrency')).toBe('maxConcurrency is invalid: no')
  })

  test('also where it is a piece of an option', () => {
    const flags = { retryMaxAttempts: '0', retryMaxDelayMs: '-1' }
    const settings = read(flags, { BYAI_WORKER_RETRY_DELAY_MS: '-1', BYAI_WORKER_VERSION: 'a b' })
    const named = (field: string) =>
      errorMessage(nameSource(new GatewayError('GW_INVALID_ARGUMENT', { field, reason: 'no' }), settings))
    expect(named('retry.maxAttempts')).toBe('--retry-max-attempts is invalid: no')
    expect(named('retry.backoff.delayMs')).toBe('BYAI_WORKER_RETRY_DELAY_MS is invalid: no')
    expect(named('retry.backoff.maxDelayMs')).toBe('--retry-max-delay-ms is invalid: no')
    expect(named('version')).toBe('BYAI_WORKER_VERSION is invalid: no')
  })

  test.each(['true', '1', 'YES', 'on'])('a switch is on by %s', (text) => {
    expect(read({}, { REDIS_TLS: text }).values.redisTls).toBe(true)
  })

  test('and off by a flag that says so', () => {
    expect(read({ redisTls: false }, { REDIS_TLS: 'true' }).values.redisTls).toBe(false)
  })
})

describe('the Redis that is meant', () => {
  test('nobody named one', () => {
    expect(redis({})).toBeUndefined()
  })

  test('by URL', () => {
    expect(redis({ redisUrl: 'redis://flag' }, { REDIS_URL: 'redis://env', REDIS_HOST: 'other', REDIS_DB: '3' })).toBe(
      'redis://flag',
    )
  })

  test('by pieces', () => {
    expect(redis({ redisPort: '7000' }, { REDIS_HOST: 'there', REDIS_PASSWORD: 'p', REDIS_TLS: '1' })).toEqual({
      host: 'there',
      port: 7000,
      db: undefined,
      username: undefined,
      password: 'p',
      tls: true,
    })
  })

  test('the port that Kubernetes gives beside a service named redis', () => {
    expect(redis({}, { REDIS_PORT: 'tcp://10.96.0.7:6380', REDIS_HOST: 'redis' })).toMatchObject({ port: 6380 })
    expect(redis({ redisUrl: 'redis://here' }, { REDIS_PORT: 'tcp://10.96.0.7:6380' })).toBe('redis://here')
  })

  test('user and password fill in what a URL leaves open, and only that', () => {
    expect(redis({ redisUrl: 'redis://there:1' }, { REDIS_USERNAME: 'u', REDIS_PASSWORD: 'p@%/s' })).toBe(
      'redis://u:p%40%25%2Fs@there:1',
    )
    expect(redis({ redisUrl: 'redis://a:b@there' }, { REDIS_PASSWORD: 'p' })).toBe('redis://a:b@there')
  })

  test('a flag replaces its piece of a URL from the environment', () => {
    const env = { REDIS_URL: 'redis://user:pass@prod:6379/0' }
    expect(redis({ redisDb: '3' }, env)).toBe('redis://user:pass@prod:6379/3')
    expect(redis({ redisPort: '7000' }, env)).toBe('redis://user:pass@prod:7000/0')
    for (const port of ['0', '65536', '-1', '7000.5']) expect(() => redis({ redisPort: port }, env)).toThrow('port')
    expect(redis({ redisTls: true }, env)).toBe('rediss://user:pass@prod:6379/0')
    expect(redis({ redisTls: false }, { REDIS_URL: 'rediss://prod' })).toBe('redis://prod')
  })

  test('but another host is another server', () => {
    expect(redis({ redisHost: 'other' }, { REDIS_URL: 'redis://user:pass@prod:6379/2' })).toMatchObject({
      host: 'other',
      password: undefined,
    })
  })

  test('TLS by a variable encrypts a URL from the environment, not one that a flag says in full', () => {
    expect(redis({}, { REDIS_URL: 'redis://prod', REDIS_TLS: '1' })).toBe('rediss://prod')
    expect(redis({ redisUrl: 'redis://localhost' }, { REDIS_TLS: '1' })).toBe('redis://localhost')
  })

  test('a Cluster, and Sentinels', () => {
    expect(redis({}, { REDIS_CLUSTER: 'a:7000, [::1]:7001', REDIS_PASSWORD: 'p' })).toMatchObject({
      cluster: [
        { host: 'a', port: 7000 },
        { host: '::1', port: 7001 },
      ],
      password: 'p',
    })
    expect(redis({ redisSentinels: 's:26379', redisSentinelName: 'main' }, { REDIS_DB: '2' })).toMatchObject({
      sentinels: [{ host: 's', port: 26379 }],
      name: 'main',
      db: 2,
    })
    expect(redis({ redisUrl: 'redis://here' }, { REDIS_CLUSTER: 'a:7000' })).toBe('redis://here')
  })

  test.each([
    [{ redisUrl: 'redis://a', redisHost: 'b' }, '--redis-url and --redis-host'],
    [{ redisUrl: 'redis://a', redisDb: '1' }, '--redis-url and --redis-db'],
    [{ redisUrl: 'redis://a', redisCluster: 'a:1' }, '--redis-cluster and --redis-url'],
  ])('flags that contradict each other are refused: %j', (flags, names) => {
    expect(() => redis(flags)).toThrow(`${names} is invalid: only one of the two can be given`)
  })

  test('a URL that cannot be read goes to the library, which says why', () => {
    expect(redis({ redisUrl: 'nonsense' }, { REDIS_PASSWORD: 'p' })).toBe('nonsense')
  })
})
