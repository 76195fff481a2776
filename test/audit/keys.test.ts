import { expect, test } from 'vitest'
import { KeySpace } from '../../src/store/key-space.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { openStore } from '../redis/harness.ts'
import { changed, Ward } from './harness.ts'

test('keys that would stay for ever get their time; open tasks and their sessions do not', async () => {
  const ward = new Ward()
  const { keys, redis } = ward
  const ended = await ward.record('ended', 'C:1:1-1:w', {}, 'closed')
  await redis.persist(ended)
  const short = await ward.record('short', 'C:1:1-1:w', {}, 'closed')
  await redis.pexpire(short, 30_000)
  await redis.zadd(keys.session('closed'), 1, 'ended', 2, 'short', 3, 'expired')
  const open = await ward.record('open', 'Q:0::', {}, 'open')
  await ward.entry('open', {}, 'agent', 'open')
  await redis.zadd(keys.session('open'), 1, 'gone', 2, 'open')
  await redis.xadd(keys.data('closed'), '*', 'data', 'x')
  await redis.hset(keys.worker('w'), 'incarnation', 'i')
  await redis.hset(keys.journal('closed', 'ended'), 'op', 'x')
  await redis.hset(keys.journal('open', 'open'), 'op', 'x')
  await redis.hset(keys.journal('closed', 'expired'), 'op', 'x')
  const before = await ward.snapshot()
  const found = await ward.findings({ fix: true })
  const lasting = found.flatMap((finding) => (finding.kind === 'key-without-ttl' ? [[finding.holds, finding.key]] : []))
  expect(lasting.sort()).toEqual([
    ['events', keys.data('closed')],
    ['journal', keys.journal('closed', 'ended')],
    ['record', ended],
    ['session', keys.session('closed')],
    ['worker', keys.worker('w')],
  ])
  expect(found.filter(({ kind }) => kind === 'orphaned-journal')).toMatchObject([
    { key: keys.journal('closed', 'expired'), fixed: true },
  ])
  expect(found.every(({ fixed }) => fixed)).toBe(true)
  expect(changed(before, await ward.snapshot())).toEqual(
    [...lasting.map(([, key]) => key as string), keys.journal('closed', 'expired')].sort(),
  )
  expect(await redis.pttl(ended)).toBeGreaterThan(DEFAULT_RETENTION.resultTtlMs / 2)
  expect(await redis.pttl(short)).toBeLessThanOrEqual(30_000)
  expect([await redis.pttl(open), await redis.pttl(keys.session('open'))]).toEqual([-1, -1])
  expect(await ward.findings()).toEqual([])
})

test('an index in which tasks stand as open that are not is set right, unless one is sent meanwhile', async () => {
  const ward = new Ward()
  const client = ward.client()
  await ward.group()
  const index = ward.keys.session('s')
  const record = await ward.record('ended', 'C:1:1-1:w')
  await ward.redis.pexpire(record, 60_000)
  await ward.redis.zadd(index, 1, 'ended', 2, 'lost', -2, '')
  const space = new KeySpace(openStore().redis, ward.keys)
  await client.sendMessage({ sessionId: 's', messageId: 'new', targetAgentType: 'agent', content: 'x' })
  expect(await space.expireIndex('s', 60_000)).toBe(false)
  expect(await ward.redis.pttl(index)).toBe(-1)
  await client.cancelTask({ sessionId: 's', messageId: 'new' })
  expect(await ward.redis.pttl(index)).toBeGreaterThan(0)
  await ward.redis.zadd(index, 3, 'lost', -1, '')
  await ward.redis.persist(index)
  expect(await ward.findings({ fix: true })).toMatchObject([
    { kind: 'key-without-ttl', holds: 'session', key: index, fixed: true },
  ])
  expect(await ward.redis.pttl(index)).toBeGreaterThan(0)
  expect((await ward.redis.zrange(index, '0', '-1')).sort()).toEqual(['', 'ended', 'new'])
})

test('a task that was cancelled while it waited keeps its record until its entry has been seen off', async () => {
  const ward = new Ward()
  const client = ward.client()
  await ward.group()
  // He will come by it.
  await ward.alive('alive')
  const ref = { sessionId: 's', messageId: 'm' }
  await client.sendMessage({ ...ref, targetAgentType: 'agent', content: 'x' })
  expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
  const record = ward.keys.task('s', 'm')
  expect(await ward.redis.pttl(record)).toBe(-1)
  expect(await ward.findings({ fix: true })).toEqual([])
  expect((await client.explain(ref)).text).toContain('kept at least until a worker has seen its entry off')
  // Deleted by hand: nobody will come by it any more.
  await ward.redis.xtrim(ward.keys.control('agent'), 'MAXLEN', 0)
  expect(await ward.findings({ fix: true })).toMatchObject([{ kind: 'key-without-ttl', key: record, fixed: true }])
  expect(await ward.redis.pttl(record)).toBeGreaterThan(DEFAULT_RETENTION.resultTtlMs / 2)
})

test('workers that are gone leave the lists, those that are alive stay', async () => {
  const ward = new Ward()
  const { keys, redis } = ward
  await ward.alive('alive')
  await redis.zadd(keys.workers(), '5', 'gone')
  await redis.zadd(keys.capability('agent'), '5', 'gone')
  // One that was killed a moment ago may come back under its name.
  await redis.zadd(keys.workers(), Date.now() - 3_000_000, 'killed')
  expect(await ward.findings({ fix: true })).toMatchObject([
    { kind: 'listed-worker', workerId: 'gone', capability: null, fixed: true },
    { kind: 'listed-worker', workerId: 'gone', capability: 'agent', fixed: true },
  ])
  expect((await redis.zrange(keys.workers(), '0', '-1')).sort()).toEqual(['alive', 'killed'])
  expect(await redis.zrange(keys.capability('agent'), '0', '-1')).toEqual(['alive'])
  expect(await ward.findings()).toEqual([])
})

test('dead letters are counted, as no fault', async () => {
  const ward = new Ward()
  for (const id of ['1-1', '2-2']) await ward.redis.xadd(ward.keys.dead('agent'), id, 'reason', 'x')
  expect(await ward.findings({ fix: true })).toMatchObject([
    { kind: 'dead-letters', severity: 'info', capability: 'agent', count: 2, fixed: false },
  ])
  expect(await ward.redis.xlen(ward.keys.dead('agent'))).toBe(2)
})

test('keys of another prefix are none of ours, also where prefixes look like patterns', async () => {
  const ward = new Ward()
  const key = `${ward.prefix}x:data:stream:{s}`
  await ward.redis.xadd(key, '*', 'data', 'x')
  expect(await ward.findings({ fix: true })).toEqual([])
  expect(await ward.redis.pttl(key)).toBe(-1)
})
