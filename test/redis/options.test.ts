import { inspect } from 'node:util'
import { Cluster, Redis } from 'ioredis'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type RedisOption, resolveRedisOption } from '../../src/redis/options.ts'

const SECRET = 'hunter2'

describe('a URL', () => {
  test.each<[string | undefined, string, object]>([
    [undefined, '127.0.0.1:6379/0', { host: '127.0.0.1', port: 6379, db: 0 }],
    ['redis://localhost', 'localhost:6379/0', { host: 'localhost', port: 6379, db: 0 }],
    ['redis://cache.example:7000/3', 'cache.example:7000/3', { host: 'cache.example', port: 7000, db: 3 }],
    ['redis://[::1]:7000', '::1:7000/0', { host: '::1', port: 7000, db: 0 }],
    [`redis://:${SECRET}@h`, 'h:6379/0', { host: 'h', port: 6379, db: 0, password: SECRET }],
    [`redis://ann:${SECRET}@h/`, 'h:6379/0', { host: 'h', port: 6379, db: 0, username: 'ann', password: SECRET }],
    ['redis://a%40b:p%3A%2F%25@h', 'h:6379/0', { host: 'h', port: 6379, db: 0, username: 'a@b', password: 'p:/%' }],
    ['rediss://h:6380/1', 'h:6380/1', { host: 'h', port: 6380, db: 1, tls: { servername: 'h' } }],
    ['rediss://127.0.0.1', '127.0.0.1:6379/0', { host: '127.0.0.1', port: 6379, db: 0, tls: {} }],
  ])('%s', (url, target, options) => {
    expect(resolveRedisOption(url)).toEqual({ kind: 'standalone', target, options })
  })

  test.each([
    ['localhost:6379', /^redis is invalid: expected redis:\/\/ or rediss:\/\//],
    ['', /^redis is invalid: expected a URL such as/],
    ['http://h', /^redis is invalid: expected redis:\/\/ or rediss:\/\//],
    ['redis://h/one', /^redis is invalid: the path must be a database number/],
    ['redis://h/1/2', /^redis is invalid/],
    ['redis://h:99999', /^redis is invalid/],
    ['redis://ann:100%@h', /^redis is invalid/],
    ['redis://ann:caf%E9@h', /^redis is invalid: user and password must be percent-encoded UTF-8/],
    // Host and port as Compose files have them: the service is called redis.
    ['redis:6379', /^redis is invalid: expected a URL such as redis:\/\//],
    ['rediss:6379', /^redis is invalid: expected a URL such as redis:\/\//],
    ['redis:/5', /^redis is invalid: expected a URL such as redis:\/\//],
    ['redis://h:0', /^redis is invalid: the port/],
    ['redis://h?db=3', /^redis is invalid: it can have no \? or #/],
    ['redis://ann#1:secret@h', /^redis is invalid: it can have no \? or #/],
  ])('%s is refused', (url, message) => {
    expect(() => resolveRedisOption(url)).toThrow(expect.objectContaining({ code: 'GW_INVALID_ARGUMENT' }))
    expect(() => resolveRedisOption(url)).toThrow(message)
  })
})

describe('an object', () => {
  test('host, port and the rest', () => {
    expect(resolveRedisOption({})).toMatchObject({ target: '127.0.0.1:6379/0' })
    expect(
      resolveRedisOption({ host: 'h', port: 1, db: 2, username: 'u', password: SECRET, tls: { ca: 'x' } }),
    ).toEqual({
      ...{ kind: 'standalone', target: 'h:1/2' },
      options: { host: 'h', port: 1, db: 2, username: 'u', password: SECRET, tls: { ca: 'x' } },
    })
    expect(resolveRedisOption({ host: 'h', tls: true })).toMatchObject({ options: { tls: { servername: 'h' } } })
    expect(resolveRedisOption({ host: 'h', tls: false })).toEqual(
      expect.not.objectContaining({ tls: expect.anything() }),
    )
    expect(resolveRedisOption({ host: 'h', password: undefined })).toMatchObject({
      options: expect.not.objectContaining({ password: expect.anything() }),
    })
  })

  test('Sentinel', () => {
    const option = {
      sentinels: [
        { host: 'a', port: 1 },
        { host: 'b', port: 2 },
      ],
      name: 'main',
    }
    expect(resolveRedisOption({ ...option, password: SECRET, sentinelPassword: 's', db: 1 })).toEqual({
      ...{ kind: 'standalone', target: "sentinel 'main'" },
      options: { ...option, password: SECRET, sentinelPassword: 's', db: 1 },
    })
    expect(resolveRedisOption({ ...option, tls: { ca: 'x' } })).toMatchObject({
      options: { tls: { ca: 'x' }, sentinelTLS: { ca: 'x' }, enableTLSForSentinelMode: true },
    })
  })

  test('a Cluster', () => {
    expect(
      resolveRedisOption({
        cluster: [
          { host: 'a', port: 1 },
          { host: 'b', port: 2 },
        ],
        password: SECRET,
        tls: true,
      }),
    ).toEqual({
      ...{
        kind: 'cluster',
        target: 'cluster a:1,b:2',
        nodes: [
          { host: 'a', port: 1 },
          { host: 'b', port: 2 },
        ],
      },
      options: { redisOptions: { password: SECRET, tls: {} } },
    })
  })

  test.each<[unknown, RegExp]>([
    [{ port: 0 }, /^redis\.port is invalid/],
    [{ port: '6379' }, /^redis\.port is invalid/],
    [{ host: '' }, /^redis\.host is invalid/],
    [{ db: -1 }, /^redis\.db is invalid/],
    [{ hots: 'h' }, /^redis.* is invalid.*hots/],
    [{ sentinels: [], name: 'x' }, /^redis\.sentinels is invalid/],
    [{ sentinels: [{ host: 'a', port: 1 }] }, /^redis\.name is invalid/],
    [{ sentinels: [{ host: 'a' }], name: 'x' }, /^redis\.sentinels\.0\.port is invalid/],
    [{ sentinels: [{ host: 'a', port: 1 }], name: 'x', host: 'h' }, /^redis.* is invalid.*host/],
    [{ cluster: [] }, /^redis\.cluster is invalid/],
    [{ cluster: [{ host: 'a', port: 1 }], db: 1 }, /^redis.* is invalid.*db/],
    [7, /^redis is invalid: expected a URL or an object/],
    [null, /^redis is invalid/],
  ])('%j is refused', (option, message) => {
    expect(() => resolveRedisOption(option as RedisOption)).toThrow(message)
  })
})

describe('a client of the caller’s', () => {
  test('of one Redis and of a Cluster', () => {
    const redis = new Redis({ lazyConnect: true })
    const cluster = new Cluster([{ host: 'h', port: 1 }], { lazyConnect: true })
    onTestFinished(() => {
      redis.disconnect()
      cluster.disconnect()
    })
    expect(resolveRedisOption(redis)).toMatchObject({ kind: 'instance', instance: redis, isCluster: false })
    expect(resolveRedisOption(cluster)).toMatchObject({ kind: 'instance', instance: cluster, isCluster: true })
  })

  test('with a key prefix of its own is refused', () => {
    const redis = new Redis({ lazyConnect: true, keyPrefix: 'mine:' })
    onTestFinished(() => redis.disconnect())
    expect(() => resolveRedisOption(redis)).toThrow(/^redis is invalid: .*keyPrefix.*"mine:"/)
  })

  test('of a Cluster with a key prefix of its own is refused too', () => {
    const cluster = new Cluster([{ host: 'h', port: 1 }], { lazyConnect: true, keyPrefix: 'mine:' })
    onTestFinished(() => cluster.disconnect())
    expect(() => resolveRedisOption(cluster)).toThrow(/^redis is invalid: .*keyPrefix/)
  })
})

describe('a password never stands in an error', () => {
  const options: unknown[] = [
    `redis://ann:${SECRET}@h:99999`,
    `redis://ann:${SECRET}@h/one`,
    `http://ann:${SECRET}@h`,
    `redis://ann:${SECRET}%@h`,
    `redis://ann:${SECRET}%E9@h`,
    // An unescaped slash in it, which ends the host.
    `redis://ann:1/${SECRET}@h:6379/0`,
    `redis://:${SECRET}/${SECRET}@h`,
    `${SECRET}`,
    { password: SECRET, port: 0 },
    { password: [SECRET] },
    { username: 7, password: SECRET },
    { sentinels: [{ host: 'a', port: 1, password: SECRET }], name: 'x' },
    { sentinels: [{ host: 'a', port: 1 }], name: 'x', sentinelPassword: { is: SECRET } },
    { cluster: [{ host: 'a', port: 1 }], password: SECRET, db: 7 },
    { cluster: `redis://:${SECRET}@h` },
  ]
  test.each(options.map((option, index) => [index, option]))(
    '%j: neither in its message nor in what is printed of it',
    (_, option) => {
      let thrown: unknown
      try {
        resolveRedisOption(option as RedisOption)
      } catch (error) {
        thrown = error
      }
      expect(thrown).toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
      expect((thrown as Error).message).not.toContain(SECRET)
      expect(inspect(thrown, { depth: 10 })).not.toContain(SECRET)
    },
  )
})
