import { Cluster, Redis } from 'ioredis'
import { expect, test } from 'vitest'
import { resolveRedisOption } from '../../src/redis/options.ts'
import { portable } from '../../src/redis/portable.ts'

const node = { host: '10.0.0.1', port: 7_000 }
const lazyConnect = true

test.each([
  ['a client', () => new Redis({ ...node, db: 3, password: 'secret', lazyConnect, retryStrategy: () => 5 })],
  [
    'one that asks Sentinels',
    () => new Redis({ sentinels: [node], name: 'main', lazyConnect, reconnectOnError: () => 2 }),
  ],
])('%s goes to another thread by its options', (_what, client) => {
  const redis = client()
  const there = structuredClone(portable(resolveRedisOption(redis)))
  expect(there).toMatchObject({ kind: 'standalone', target: 'the given ioredis client' })
  const again = new Redis({ ...(there as { options: object }).options })
  const values = Object.fromEntries(Object.entries(redis.options).filter(([, value]) => typeof value !== 'function'))
  expect(again.options).toMatchObject(values)
})

test('so does one of a Cluster, with the addresses that it has for others', () => {
  const natMap = { '10.0.0.1:7000': { host: 'localhost', port: 9_000 } }
  const given = { lazyConnect, natMap, redisOptions: { password: 'secret', retryStrategy: () => 5 } }
  const there = structuredClone(portable(resolveRedisOption(new Cluster([node], given))))
  expect(there).toMatchObject({
    kind: 'cluster',
    nodes: [node],
    options: { natMap, redisOptions: { password: 'secret' } },
  })
})

test('a function that means something goes nowhere', () => {
  const client = new Cluster([node], { lazyConnect, dnsLookup: (host, answer) => answer(null, host) })
  expect(() => structuredClone(portable(resolveRedisOption(client)))).toThrow('could not be cloned')
})

test('what is no client is as it was', () => {
  const resolved = resolveRedisOption('redis://localhost:6380/2')
  expect(portable(resolved)).toBe(resolved)
})
