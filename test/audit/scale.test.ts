import { expect, test } from 'vitest'
import { Audit } from '../../src/audit/audit.ts'
import { connect } from '../redis/harness.ts'
import { envelope, House } from '../worker/harness.ts'

const RECORDS = 40_000
const ENTRIES = 10_000
/** Generous, since the machine may be busy; what walks without bounds takes longer here. */
const SLOWEST_MS = 100

test('forty thousand records and ten thousand pending entries hold nobody up', {
  timeout: 180_000,
}, async () => {
  const house = await House.private()
  const { redis, keys } = house
  const control = keys.control('agent')
  await redis.xgroup('CREATE', control, 'agent_engines', '0', 'MKSTREAM')
  for (let from = 0; from < RECORDS; from += 1_000) {
    const batch = redis.pipeline()
    for (let i = from; i < from + 1_000; i += 1) {
      const [key, session] = [keys.task(`s-${i % 100}`, `m-${i}`), keys.session(`s-${i % 100}`)]
      batch.hset(key, { agent_type: 'agent', created_at: 1, fence: i < ENTRIES ? 'Q:0::' : 'C:1:1-1:w' })
      if (i >= ENTRIES) batch.pexpire(key, 3_600_000)
      batch.zadd(session, i, `m-${i}`)
      if (i < ENTRIES) batch.xadd(control, '*', 'data', envelope(`m-${i}`, `s-${i % 100}`))
    }
    await batch.exec()
  }
  for (let from = 0; from < ENTRIES; from += 1_000) {
    await redis.xreadgroup('GROUP', 'agent_engines', 'w', 'COUNT', 1_000, 'STREAMS', control, '>')
  }
  await redis.config('SET', 'slowlog-log-slower-than', SLOWEST_MS * 1_000)
  await redis.call('SLOWLOG', 'RESET')
  await redis.config('RESETSTAT')
  const lost = await redis.hset(keys.task('s', 'lost'), { agent_type: 'agent', fence: 'Q:0::' })
  expect(lost).toBe(2)
  const audit = new Audit({ redis: connect(house.url).client('patient'), keys })
  const { findings, notes, recordsSeen, entriesSeen } = await audit.diagnose({ intervalMs: 20, limit: 2 * RECORDS })
  expect(notes).toEqual([])
  expect([recordsSeen, entriesSeen]).toEqual([RECORDS + 1, ENTRIES])
  // On a slow machine the entries have been pending for long by now, and there is no worker.
  const faults = findings.filter(({ severity }) => severity !== 'info')
  expect(faults.map(({ kind }) => kind)).toEqual(['waiting-without-entry'])
  expect(await redis.call('SLOWLOG', 'GET', 10)).toEqual([])
  expect(await redis.info('commandstats')).not.toMatch(/cmdstat_(keys|smembers|hgetall):/)
})
