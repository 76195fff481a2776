import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Finding } from '../../src/audit/finding.ts'
import { Keys } from '../../src/redis/keys.ts'
import { testRedisUrl } from '../support/redis.ts'
import { command } from './support/command.ts'
import { meetingPlace, talkHere } from './support/talker.ts'

/** A corner of Redis in which things are broken by hand. */
function corner() {
  const env = meetingPlace()
  const redis = new Redis(testRedisUrl())
  onTestFinished(() => redis.disconnect())
  const keys = new Keys(env.BYAI_WORKER_KEY_PREFIX)
  const record = (messageId: string, fence: string) =>
    redis.hset(keys.task('s', messageId), { agent_type: 'agent', created_at: '1000', fence })
  const doctor = (...args: string[]) => command(['doctor', '--interval-ms', '20', ...args], { env })
  return { env, redis, keys, record, doctor, run: (...args: string[]) => command(args, { env }) }
}

describe('byclaw doctor', () => {
  test('nothing to tell', async () => {
    expect(await corner().doctor()).toMatchObject({
      ...{ code: 0, stdout: '' },
      stderr: expect.stringMatching(/looked at 0 records and 0 entries of control streams: nothing to tell\n$/),
    })
  })

  test('tells what it found, and repairs it when asked', async () => {
    const { record, doctor, redis, keys } = corner()
    await record('lost', 'Q:0::')
    await redis.zadd(keys.workers(), '5', 'gone')
    const found = await doctor()
    expect(found.code).toBe(1)
    expect(found.stdout).toMatch(
      /^fault waiting-without-entry\n {2}Task lost of session s is QUEUED.*\n {2}→ .*GW_TASK_STRANDED.*\nfault listed-worker\n/,
    )
    expect(found.stderr).toMatch(/2 found, 0 repaired, 2 to look after; --fix repairs 2\n$/)
    const fixed = await doctor('--fix')
    expect(fixed).toMatchObject({ code: 0, stderr: expect.stringContaining('2 found, 2 repaired, 0 to look after') })
    expect(fixed.stdout).toContain('\n  repaired\n')
    expect((await doctor()).code).toBe(0)
  })

  test('--json, --capability, --limit, --consumer-group', async () => {
    const { record, doctor, redis, keys } = corner()
    await record('lost', 'Q:0::')
    const { code, stdout, stderr } = await doctor('--json', '--limit', '1')
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(JSON.parse(stdout) as Finding).toMatchObject({ kind: 'waiting-without-entry', fixable: true, fixed: false })
    expect(await doctor('--json', '--capability', 'other')).toMatchObject({ code: 0, stdout: '' })
    await redis.xgroup('CREATE', keys.control('agent'), 'mine', '0', 'MKSTREAM')
    const groups = async (...args: string[]) => (await doctor('--json', ...args)).stdout.includes('foreign-group')
    expect([await groups(), await groups('--consumer-group', 'mine')]).toEqual([true, false])
  })

  test('what only explains is no failure', async () => {
    const { doctor, redis, keys } = corner()
    await redis.xadd(keys.dead('agent'), '*', 'reason', 'x')
    expect(await doctor()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^info dead-letters\n/) })
  })

  test('a value that is none is refused by its flag', async () => {
    const { doctor } = corner()
    expect(await doctor('--capability', 'a b')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--capability'),
    })
    expect(await doctor('--limit', '0')).toMatchObject({ code: 2, stderr: expect.stringContaining('--limit') })
  })
})

describe('byclaw why', () => {
  test('in plain words, or as JSON', async () => {
    const { run, record } = corner()
    await record('m', 'C:1:1-1:w')
    expect(await run('why', 's', 'm')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^It ended COMPLETED.*\n$/),
    })
    const { stdout } = await run('why', 's', 'm', '--json')
    expect(JSON.parse(stdout)).toMatchObject({ state: 'ended', status: 'COMPLETED', text: expect.any(String) })
  })

  test('nothing known: not 0', async () => {
    expect(await corner().run('why', 's', 'm')).toMatchObject({
      ...{ code: 1, stdout: expect.stringContaining('Nothing is known of this task') },
    })
  })

  test('of a real task', async () => {
    const { env, run } = corner()
    await talkHere(env)
    await run('send', 'talker', 'hi', '--session', 's-1', '--message-id', 'm-1')
    expect((await run('why', 's-1', 'm-1')).stdout).toMatch(
      /^It ended COMPLETED at .*, in attempt 1\. Its result is kept/,
    )
  })

  test('an id that is none is refused by its place', async () => {
    expect(await corner().run('why', 's', 'a b')).toMatchObject({
      ...{ code: 2, stderr: expect.stringContaining('<message> is invalid') },
    })
  })
})
