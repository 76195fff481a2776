import { describe, expect, test } from 'vitest'
import { Keys } from '../../src/redis/keys.ts'
import { DeadLetters } from '../../src/store/dead-letters.ts'
import { bareRedis, connect } from '../redis/harness.ts'
import { envelope } from '../worker/harness.ts'
import { command } from './support/command.ts'
import { byclaw } from './support/program.ts'
import { meetingPlace, talkHere } from './support/talker.ts'

/** A corner of Redis with failed tasks of `talker` in it, and `byclaw dead` that looks at it. */
async function cemetery(...messageIds: string[]) {
  const env = meetingPlace()
  const keys = new Keys(env.BYAI_WORKER_KEY_PREFIX)
  const redis = bareRedis()
  const letters = new DeadLetters(connect().client('patient'), keys)
  const bury = async (messageId: string, { capability = 'talker', data = envelope(messageId, 's') } = {}) => {
    const record = { fence: 'F:2:1-0:w', agent_type: capability, created_at: '1', finished_at: '2', error: '{}' }
    await redis.hset(keys.task('s', messageId), record)
    const failure = { code: 'GW_TASK_FAILED', message: 'no\u001b[31m way', at: 1_700_000_000_000, workerId: 'w-9' }
    const history = [1, 2].map((attempt) => ({ ...failure, attempt, entryId: '1-0' }))
    const about = { reason: 'failed', detail: 'GW_TASK_FAILED: no way', entryId: '1-0', workerId: 'w-9' }
    const letter = { ...about, capability, sessionId: 's', messageId, epoch: 2, history, data }
    await letters.add(letter, keys.control(capability))
  }
  for (const messageId of messageIds) await bury(messageId)
  return {
    ...{ env, keys, redis, bury },
    run: (...args: string[]) => command(['dead', ...args], { env }),
    left: (capability = 'talker') => letters.count(capability),
    waiting: () => redis.xlen(keys.control('talker')),
    ids: async () => (await letters.list({ capability: 'talker' }, 10)).map(({ id }) => id).reverse(),
  }
}

const rows = (stdout: string) =>
  stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>)

describe('byclaw dead list', () => {
  test('of all capabilities, of one, and by every filter', async () => {
    const { run, bury } = await cemetery('m-1', 'm-2')
    await bury('m-3', { capability: 'other' })
    const all = await run('list')
    expect(all.stdout).toMatch(/^ID +CAPABILITY +AGE +REASON +SESSION +MESSAGE +WORKER +DETAIL\n\d+-\d+ +other .+ m-3 /)
    expect(all.stdout.trimEnd().split('\n')).toHaveLength(4)
    const ids = async (...args: string[]) =>
      rows((await run('list', '--json', ...args)).stdout).map(({ messageId }) => messageId)
    expect(await ids('talker')).toEqual(['m-2', 'm-1'])
    expect(await ids('--capability', 'other')).toEqual(['m-3'])
    expect(await ids('--message', 'm-1')).toEqual(['m-1'])
    expect(await ids('--session', 'nobody')).toEqual([])
    expect(await ids('--reason', 'failed', '--text', 'NO WAY', '--limit', '1', 'talker')).toEqual(['m-2'])
    expect(await ids('--since', '1h', 'other')).toEqual(['m-3'])
    expect(await ids('--until', '1h')).toEqual([])
    expect(await ids('--since', '2020-01-01', '--until', '2020-12-31T10:00Z')).toEqual([])
    expect(await run('list', '--reason', 'none')).toMatchObject({ code: 0, stderr: 'no such dead letter\n' })
  })
})

describe('byclaw dead show', () => {
  test('tells all of one letter, by its id or its message', async () => {
    const { run, ids } = await cemetery('m-1')
    const [id = ''] = await ids()
    const { code, stdout } = await run('show', id)
    expect(code).toBe(0)
    const [letter, ...lines] = stdout.trimEnd().split('\n')
    expect(letter).toMatch(new RegExp(`^letter {6}${id}, \\d{4}-\\d\\d-\\d\\dT.+Z, \\S+$`))
    expect(lines).toEqual([
      'capability  talker, normal lane',
      'reason      failed',
      'detail      GW_TASK_FAILED: no way',
      'session     s',
      'message     m-1',
      'task now    FAILED',
      'worker      w-9',
      'entry       1-0',
      '',
      'TRY  AT                        WORKER  CODE            MESSAGE',
      '  1  2023-11-14T22:13:20.000Z  w-9     GW_TASK_FAILED  no�[31m way',
      '  2  2023-11-14T22:13:20.000Z  w-9     GW_TASK_FAILED  no�[31m way',
      '',
      ...JSON.stringify(JSON.parse(envelope('m-1', 's')), null, 2).split('\n'),
    ])
    // But for the first line, which tells the age.
    expect((await run('show', 'm-1')).stdout.trimEnd().split('\n').slice(1)).toEqual(lines)
    expect(rows((await run('show', 'm-1', '--json')).stdout)).toMatchObject([
      {
        id,
        messageId: 'm-1',
        data: envelope('m-1', 's'),
        history: [{ attempt: 1 }, { attempt: 2 }],
        task: { epoch: 2 },
      },
    ])
  })

  test('what names no task, and what is no JSON', async () => {
    const { run, redis, keys } = await cemetery()
    const id = await redis.xadd(keys.dead('talker'), '*', 'data', 'no\u001b[31m\njson', 'history', '[{"at":"soon"}]')
    const { stdout } = await run('show', id ?? '', '--capability', 'talker')
    expect(stdout).toContain('message     -\ntask now    -\n')
    expect(stdout).toMatch(/undefined +- +undefined/)
    expect(stdout.endsWith('\n\nno�[31m⏎json\n')).toBe(true)
  })

  test('one that is not there', async () => {
    const { run } = await cemetery('m-1')
    const nothing = { code: 1, stdout: '', stderr: 'no such dead letter\n' }
    expect(await run('show', '1-1')).toMatchObject(nothing)
    expect(await run('show', 'm-2')).toMatchObject(nothing)
    expect(await run('show', 'm-1', '--session', 'other')).toMatchObject(nothing)
  })
})

describe('byclaw dead redrive', () => {
  test('a dry run lists what would happen; then it happens, and the task runs', async () => {
    const { run, env, redis, keys, left, waiting } = await cemetery('m-1', 'm-2', 'm-3')
    await redis.hset(keys.task('s', 'm-2'), 'fence', 'C:3:9-0:w')
    const dry = await run('redrive', '--capability', 'talker', '--dry-run')
    expect(dry).toMatchObject({ code: 0, stderr: '' })
    const lines = dry.stdout.trimEnd().split('\n')
    expect(lines[0]).toMatch(/^ID +CAPABILITY +SESSION +MESSAGE +OUTCOME$/)
    expect(lines.slice(1, 4).map((line) => line.split(/ {2,}/).slice(3).join(': '))).toEqual([
      ...['m-1: redriven', 'm-2: ended, letter removed', 'm-3: redriven'],
    ])
    expect(lines[4]).toBe('would redrive 2 of 3 dead letters, skipped 1: 1 ended')
    expect([await left(), await waiting()]).toEqual([3, 0])
    const done = await run('redrive')
    expect(done.stdout).toMatch(/\n\d+-\d+ +talker +s +m-2 +ended, letter removed\nredriven 2 of 3 .+: 1 ended\n$/)
    expect(await left()).toBe(0)
    await talkHere(env)
    const ended = await command(['tail', 's', '--message', 'm-1', '--json'], { env })
    expect(rows(ended.stdout).at(-1)).toMatchObject({ type: 'done', status: 'COMPLETED', messageId: 'm-1' })
  })

  test('one of them, a few of them, at a rate, as JSON', async () => {
    const { run, ids, left, waiting } = await cemetery('m-1', 'm-2', 'm-3', 'm-4')
    const [first = ''] = await ids()
    expect(await run('redrive', first)).toMatchObject({ code: 0, stdout: 'redriven 1 of 1 dead letter\n', stderr: '' })
    const { stdout, stderr } = await run('redrive', 'm-3', '--json')
    expect(rows(stdout)).toMatchObject([
      { capability: 'talker', sessionId: 's', messageId: 'm-3', outcome: 'redriven', isRemoved: true },
    ])
    expect(stderr).toBe('redriven 1 of 1 dead letter\n')
    expect(await run('redrive', '--limit', '1', '--rate', '50.5')).toMatchObject({
      stdout: 'redriven 1 of 1 dead letter\n',
    })
    expect([await left(), await waiting()]).toEqual([1, 3])
    expect(await run('redrive', '1-1')).toMatchObject({ code: 1, stdout: 'no such dead letter\n' })
    expect(await run('redrive', '--reason', 'none')).toMatchObject({ code: 0, stdout: 'no such dead letter\n' })
  })

  test('with an envelope from stdin, which must be one for that task', async () => {
    const { env, redis, keys } = await cemetery('m-1')
    const redrive = (input: string) => byclaw(['dead', 'redrive', 'm-1', '--data', '-'], { env, input })
    expect(await redrive(envelope('m-2', 's'))).toMatchObject({
      ...{ code: 2, stdout: '' },
      stderr:
        "byclaw: --data is invalid: must keep session 's' and message 'm-1' of the letter (GW_INVALID_ARGUMENT)\n",
    })
    const mended = envelope('m-1', 's', { content: 'mended' })
    expect((await redrive(mended)).stdout).toBe('redriven 1 of 1 dead letter\n')
    const [entry] = await redis.xrange(keys.control('talker'), '-', '+')
    expect(entry?.[1]).toEqual(['data', mended, 'turn', '2'])
  })
})

describe('byclaw dead drop', () => {
  test('drops what is meant, and everything only when told so twice', async () => {
    const { run, bury, left } = await cemetery('m-1', 'm-2', 'm-3')
    await bury('m-4', { capability: 'other' })
    const refused = await run('drop', '--capability', 'talker', '--limit', '1')
    expect(refused).toMatchObject({ code: 2, stdout: '' })
    expect(refused.stderr).toBe('byclaw: this drops the dead letters of talker: say which ones, or --yes\n')
    expect((await run('drop')).stderr).toContain('of all capabilities: say which ones, or --yes')
    const dry = await run('drop', '--dry-run', '--capability', 'talker')
    expect(dry.stdout).toMatch(/^ID +CAPABILITY +REASON +SESSION +MESSAGE\n(.+ failed +s +m-\d\n){3}would drop 3 .+\n$/)
    expect(await left()).toBe(3)
    expect(await run('drop', 'm-2')).toMatchObject({ code: 0, stdout: 'dropped 1 dead letter\n', stderr: '' })
    expect(await run('drop', 'm-2')).toMatchObject({ code: 1, stdout: 'no such dead letter\n' })
    const json = await run('drop', '--session', 's', '--capability', 'other', '--json')
    expect(rows(json.stdout)).toMatchObject([{ capability: 'other', messageId: 'm-4', reason: 'failed' }])
    expect(json.stderr).toBe('dropped 1 dead letter\n')
    expect((await run('drop', '--yes')).stdout).toBe('dropped 2 dead letters\n')
    expect([await left(), await left('other')]).toEqual([0, 0])
  })
})

test.each([
  [['list', 'a', '--capability', 'b'], '<capability> and --capability exclude each other'],
  [['list', 'a b'], '<capability> is invalid'],
  [['list', '--capability', 'a b'], '--capability is invalid'],
  [['redrive', '--session', 'a b'], '--session is invalid'],
  [['drop', 'm', '--message', 'm'], '<letter> and --message exclude each other'],
  [['redrive', '--rate', '0'], "'--rate <n>' argument '0' is invalid. It must be a number above 0."],
  [['redrive', '--since', 'soon'], "'--since <time>' argument 'soon' is invalid"],
  [['drop', '--until', '12'], "'--until <time>' argument '12' is invalid"],
  [['show'], "missing required argument 'letter'"],
  [['show', 'a b'], '<letter> is invalid'],
  [['redrive', '--data', '{', 'm'], '--data is invalid: Expected'],
  [['lift'], "unknown command 'lift' (Did you mean list?)"],
])('refuses in one clear line: %j', async (args, expected) => {
  const { code, stdout, stderr } = await command(['dead', ...args], { env: meetingPlace() })
  expect(code).toBe(2)
  expect(stderr).toContain(expected)
  expect(stderr).toMatch(/^byclaw: [^\n]+\n$/)
  expect(stdout).toBe('')
})
