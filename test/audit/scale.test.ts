import { expect, test } from 'vitest'
import { Audit } from '../../src/audit/audit.ts'
import { connect } from '../redis/harness.ts'
import { sized } from '../support/size.ts'
import { envelope, House } from '../worker/harness.ts'

const RECORDS = sized({ short: 20_000, long: 40_000 })
const ENTRIES = 10_000
/** Generous, since the machine may be busy; what walks without bounds takes longer here. */
const SLOWEST_MS = 100

/** Ten thousand tasks from a number on; those below another one wait, all others have ended. */
const FILL = `
  for i = tonumber(ARGV[1]), ARGV[1] + 9999 do
    local function fill(template) return (template:gsub('SESSION', 's-' .. i % 100):gsub('MESSAGE', 'm-' .. i)) end
    local key, waits = fill(ARGV[3]), i < tonumber(ARGV[2])
    redis.call('HSET', key, 'agent_type', 'agent', 'created_at', 1, 'fence', waits and 'Q:0::' or 'C:1:1-1:w')
    redis.call('ZADD', fill(ARGV[4]), i, 'm-' .. i)
    if waits then redis.call('XADD', ARGV[5], '*', 'data', fill(ARGV[6])) else redis.call('PEXPIRE', key, 3600000) end
  end`

test('tens of thousands of records and ten thousand pending entries hold nobody up', {
  timeout: 180_000,
}, async () => {
  const house = await House.private()
  const { redis, keys } = house
  const control = keys.control('agent')
  await redis.xgroup('CREATE', control, 'agent_engines', '0', 'MKSTREAM')
  const templates = [keys.task('SESSION', 'MESSAGE'), keys.session('SESSION'), control, envelope('MESSAGE', 'SESSION')]
  for (let from = 0; from < RECORDS; from += 10_000) await redis.eval(FILL, 0, from, ENTRIES, ...templates)
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
