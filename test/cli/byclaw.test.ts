import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { SessionEvent } from '../../src/protocol/event.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { testRedisUrl } from '../support/redis.ts'
import { command } from './support/command.ts'
import { builtProgram, byclaw, Program, startByclaw } from './support/program.ts'
import { meetingPlace, talkHere } from './support/talker.ts'
import { HAS_TERMINAL, onTerminal, styled } from './support/terminal.ts'

const ANSWER = 'Looking it up…\n北京 is warm\n'

const events = (stdout: string) =>
  stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as SessionEvent)

/** A worker, and the variables with which a command meets it. */
async function talker() {
  const env = meetingPlace()
  await talkHere(env)
  return { env, run: (...args: string[]) => command(args, { env }) }
}

describe('byclaw send', () => {
  test('streams the answer to stdout and all else to stderr', async () => {
    const { env } = await talker()
    const { code, stdout, stderr } = await byclaw(['send', 'talker', 'hi'], { env })
    expect({ code, stdout }).toEqual({ code: 0, stdout: ANSWER })
    expect(stderr).toMatch(
      /^session cli-\S+, message msg-\S+\nthinking\nartifact map.png https:\S+\ndata \{"temperature":20\}\n$/,
    )
  })

  test('the answer comes as it is said, not at the end', async () => {
    const { env } = await talker()
    const sending = startByclaw(['send', 'talker', 'slow'], { env })
    await sending.says('taking my time')
    expect(sending.stdout).toBe('')
    await sending.says('Looking it up')
    expect((await sending.ended).code).toBe(0)
  })

  test('prints what was returned where nothing was streamed', async () => {
    const { run } = await talker()
    expect((await run('send', 'talker', 'silent')).stdout).toBe('said nothing before\n')
    expect((await run('send', 'talker', 'object')).stdout).toBe('{\n  "temperature": 20\n}\n')
  })

  test('a task that fails: one line, and not 0', async () => {
    const { run } = await talker()
    const { code, stdout, stderr } = await run('send', 'talker', 'fail')
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr.split('\n').slice(1)).toEqual(['FAILED: no such⏎city (GW_TASK_FAILED)', ''])
    expect((await run('send', 'talker', 'fail', '--json')).code).toBe(1)
  })

  test('--json: one event per line, and nothing else', async () => {
    const { run } = await talker()
    const { code, stdout, stderr } = await run('send', 'talker', 'hi', '--json')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(events(stdout).map(({ type }) => type)).toEqual([
      ...['state', 'chunk', 'chunk', 'chunk', 'artifact', 'data', 'chunk', 'done'],
    ])
  })

  test('--session and --message-id: sent twice, runs once', async () => {
    const { run } = await talker()
    const args = ['send', 'talker', 'hi', '--session', 's-1', '--message-id', 'm-1']
    const first = await run(...args)
    expect(first.stderr).toContain('session s-1, message m-1\n')
    expect((await run(...args)).stdout).toBe(first.stdout)
    expect(JSON.parse((await run('tasks', '--json')).stdout)).toMatchObject({ messageId: 'm-1', attempt: 1 })
  })

  test('--data: an object or an array, and no other JSON', async () => {
    const { run } = await talker()
    expect(JSON.parse((await run('send', 'talker', '{"city":["x"]}', '--data')).stdout)).toEqual({
      got: { city: ['x'] },
    })
    expect(await run('send', 'talker', '"text"', '--data')).toMatchObject({
      code: 2,
      stderr: 'byclaw: --data: the JSON must be an object or an array\n',
    })
    expect((await run('send', 'talker', '{', '--data')).stderr).toMatch(/^byclaw: --data: the text is no JSON: .+\n$/)
  })

  test.each(['silent', 'silent\n', 'silent\r\n'])(
    '- reads the text from stdin, without the line break at its end: %j',
    async (input) => {
      const { env } = await talker()
      const { stdout } = await byclaw(['send', 'talker', '-'], { env, input })
      expect(stdout).toBe('said nothing before\n')
    },
  )

  test('--no-wait: queued, and where', async () => {
    const env = meetingPlace()
    const { code, stdout, stderr } = await command(['send', 'nobody', 'x', '--no-wait', '--session', 's'], { env })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^QUEUED msg-\S+ in session s\n$/)
    const json = await command(['send', 'nobody', 'x', '--no-wait', '--session', 's', '--json'], { env })
    expect(JSON.parse(json.stdout)).toMatchObject({ success: true, status: 'QUEUED', sessionId: 's' })
  })

  test('--timeout-ms, and a word when nobody is there to answer', async () => {
    const { code, stderr } = await command(['send', 'nobody', 'x', '--timeout-ms', '300'], { env: meetingPlace() })
    expect(code).toBe(1)
    expect(stderr).toContain("no live worker offers 'nobody' yet, the task waits for one\n")
    expect(stderr).toMatch(/byclaw: the end of msg-\S+ did not come within 300 ms \(GW_TIMEOUT\)\n$/)
  })

  test.each([
    [['send', 'bad name', 'x'], '<capability> is invalid'],
    [['send', 'a', 'x', '--session', 'a b'], '--session is invalid'],
    [['send', 'a', 'x', '--message-id', '{}'], '--message-id is invalid'],
    [['send', 'a', ' '], '<text> is invalid: must not be blank'],
    [['send', 'a', 'x', '--timeout-ms', 'soon'], "'--timeout-ms <ms>' argument 'soon' is invalid"],
    [['send', 'a', 'x', '--timeout-ms', '3000000000'], "'--timeout-ms <ms>' argument '3000000000' is invalid"],
    [['plugins', 'reload', '--timeout-ms', '3000000000'], "'--timeout-ms <ms>' argument '3000000000' is invalid"],
    [['sessions', 'delete', 's', '--timeout-ms', '3000000000'], "argument '3000000000' is invalid"],
    [['doctor', '--interval-ms', '3000000000'], "'--interval-ms <ms>' argument '3000000000' is invalid"],
    [['doctor', '--capability', 'a b'], '--capability is invalid'],
    [['doctor', '--consumer-group', ' '], '--consumer-group is invalid: must not be blank (got " ")'],
    [['dead', 'drop', '--reason', ' '], '--reason is invalid: must not be blank (got " ")'],
    [['history', 's', '--before', ''], '--before is invalid: must not be blank (got "")'],
    [['workers', '--redis-host', ' '], '--redis-host is invalid: must not be blank (got " ")'],
    [['workers', '--connect-timeout-ms', '3000000000'], '--connect-timeout-ms is invalid'],
    [['workers', '--connect-timeout-ms', '0'], '--connect-timeout-ms is invalid'],
    [['send', 'a'], "missing required argument 'text'"],
    [['tail', 'a b'], '<session> is invalid'],
    [['tail', 's', '--from', 'x'], '--from is invalid'],
    [['tasks', '--status', 'lost'], "'--status <status>' argument 'lost' is invalid"],
    [['tasks', '--limit', '0'], "'--limit <n>' argument '0' is invalid"],
    [['dead', 'list', 'a b'], '<capability> is invalid'],
    [['workers', '--redis-db', 'x'], '--redis-db is invalid'],
    [['workers', '--redis-port', '65536'], '--redis-port is invalid'],
    [['worker'], "unknown command 'worker' (Did you mean workers?)"],
  ])('refuses in one clear line: %j', async (args, expected) => {
    const { code, stdout, stderr } = await command(args, { env: meetingPlace() })
    expect(code).toBeGreaterThan(0)
    expect(stderr).toContain(expected)
    expect(stderr).toMatch(/^byclaw: [^\n]+\n$/)
    expect(stdout).toBe('')
  })
})

describe('byclaw tail', () => {
  test('follows from now on until Ctrl-C', async () => {
    const { env, run } = await talker()
    await run('send', 'talker', 'silent', '--session', 's')
    const tail = startByclaw(['tail', 's', '--json'], { env })
    // Nobody can tell from outside when it begins to listen, so there is something to hear until it hears.
    await waitFor(
      async () => {
        await run('send', 'talker', 'object', '--session', 's')
        return tail.stdout.includes('temperature')
      },
      { timeoutMs: 10_000 },
    )
    expect(tail.stdout).not.toContain('said nothing')
    expect(await tail.end('SIGINT')).toMatchObject({ code: 130, stderr: '' })
  })

  test('one event per line, with its time, id, agent and type', async () => {
    const { run } = await talker()
    await run('send', 'talker', 'hi', '--session', 's')
    const { code, stdout, stderr } = await run('tail', 's', '--no-follow')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const lines = stdout.trimEnd().split('\n')
    for (const line of lines) expect(line).toMatch(/^\d\d:\d\d:\d\d\.\d{3} \d+-\d+ talker [a-z_]+ /)
    expect(lines.map((line) => line.split(' ').slice(3).join(' '))).toEqual([
      'state thinking',
      'chunk Looking',
      'chunk it up…⏎',
      'chunk 北京 is',
      'artifact map.png https://example.org/map.png',
      'data {"temperature":20}',
      'chunk warm',
      'done COMPLETED {"heard":"hi"}',
    ])
  })

  test('--from an event, and --message to its end', async () => {
    const { run } = await talker()
    await run('send', 'talker', 'hi', '--session', 's', '--message-id', 'm-1')
    await run('send', 'talker', 'silent', '--session', 's', '--message-id', 'm-2')
    const all = events((await run('tail', 's', '--no-follow', '--json')).stdout)
    expect(all).toHaveLength(9)
    const later = await run('tail', 's', '--no-follow', '--json', '--from', all[6]?.id ?? '')
    expect(events(later.stdout)).toEqual(all.slice(7))
    expect(events((await run('tail', 's', '--json', '--message', 'm-2')).stdout)).toEqual(all.slice(8))
  })

  test('a closed pipe ends it quietly', async () => {
    const { env, run } = await talker()
    await run('send', 'talker', 'hi', '--session', 's')
    const line = `'${process.execPath}' '${builtProgram('byclaw')}' tail s --from 0 | head -1`
    const tail = new Program('sh', ['-c', line], { env })
    // The shell waits for both; what comes next meets the closed pipe.
    await tail.says('thinking')
    await run('send', 'talker', 'hi', '--session', 's')
    expect(await tail.ended).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^[^\n]+\n$/) })
  })
})

describe('byclaw workers', () => {
  test('a table for people, JSON for programs', async () => {
    const env = meetingPlace()
    expect(await command(['workers'], { env })).toMatchObject({ code: 0, stdout: '', stderr: 'no worker is alive\n' })
    await talkHere(env, { workerId: 'w-1', maxConcurrency: 3 })
    const { stdout } = await command(['workers'], { env })
    expect(stdout).toMatch(/^WORKER +LOAD +UP +SEEN +HOST +VERSION +CAPABILITIES\nw-1 +0\/3 .+ talker\n$/)
    const json = await command(['workers', '--json'], { env })
    expect(JSON.parse(json.stdout)).toMatchObject({ workerId: 'w-1', capabilities: ['talker'], maxConcurrency: 3 })
  })

  test('a Redis that cannot be reached: one line, soon', async () => {
    const started = performance.now()
    const { code, stdout, stderr } = await byclaw(['workers', '--redis-url', 'redis://127.0.0.1:1'])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^byclaw: Redis at 127.0.0.1:1\/0 cannot be reached: .+ \(GW_REDIS_UNREACHABLE\)\n$/)
    expect(performance.now() - started).toBeLessThan(8_000)
  })
})

describe('byclaw tasks', () => {
  test('of all sessions, of one, of a status, and not too many', async () => {
    const { run } = await talker()
    expect(await run('tasks')).toMatchObject({ stdout: '', stderr: 'no such task\n' })
    await run('send', 'talker', 'silent', '--session', 's-1', '--message-id', 'm-1')
    await run('send', 'talker', 'fail', '--session', 's-2', '--message-id', 'm-2')
    await run('send', 'nobody', 'x', '--session', 's-2', '--message-id', 'm-3', '--no-wait')
    const ids = async (...args: string[]) =>
      events((await run('tasks', '--json', ...args)).stdout).map(({ messageId }) => messageId)
    expect(await ids()).toEqual(['m-1', 'm-2', 'm-3'])
    expect(await ids('--session', 's-2')).toEqual(['m-2', 'm-3'])
    expect(await ids('--status', 'failed')).toEqual(['m-2'])
    expect(await ids('--limit', '1', '--session', 's-2')).toEqual(['m-2'])
    const lines = (await run('tasks', '--session', 's-2')).stdout.trimEnd().split('\n')
    expect(lines[0]).toMatch(/^STATUS +AGENT +AGE +TOOK +TRY +WORKER +SESSION +MESSAGE$/)
    expect(lines[1]).toMatch(/^FAILED +talker .+ 1 +\S+ +s-2 +m-2$/)
    expect(lines[2]).toMatch(/^QUEUED +nobody +\S+ +- +0 +- +s-2 +m-3$/)
  })
})

describe('byclaw dead list', () => {
  test('newest first, as a table and as JSON with the data as it came', async () => {
    const { env, run } = await talker()
    expect(await run('dead', 'list', 'talker')).toMatchObject({ stdout: '', stderr: 'no dead letters of talker\n' })
    const redis = new Redis(testRedisUrl())
    onTestFinished(() => redis.disconnect())
    const stream = `${env.BYAI_WORKER_KEY_PREFIX}:ctrl:talker`
    await redis.xadd(stream, '*', 'data', 'no\u001b[31m json')
    await redis.xadd(stream, '*', 'other', 'x')
    await waitFor(async () => (await run('dead', 'list', 'talker', '--json')).stdout.split('\n').length === 3)
    const letters = (await run('dead', 'list', 'talker', '--json')).stdout.trimEnd().split('\n')
    expect(letters.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { reason: 'no-data-field', data: '' },
      { reason: 'bad-json', data: 'no\u001b[31m json' },
    ])
    const { stdout } = await run('dead', 'list', 'talker', '--limit', '1')
    expect(stdout).toMatch(
      /^ID +AGE +REASON +SESSION +MESSAGE +WORKER +DETAIL\n\d+-\d+ +\S+ +no-data-field +- +- .+\n$/,
    )
    expect((await run('dead', 'list', 'talker')).stdout).not.toContain('\u001b')
  })
})

describe('on a terminal', () => {
  const [bold, dim] = [[1, 22] as const, [2, 22] as const]

  test.runIf(HAS_TERMINAL)('headings are bold, and what is said beside the answer is dim', async () => {
    const { env, run } = await talker()
    const sent = await onTerminal('byclaw', ['send', 'talker', 'hi'], env).ended
    expect(sent.stdout).toContain(styled(dim, 'thinking'))
    // A remark never stands in the middle of a line of the answer.
    expect(sent.stdout).toContain(`北京 is \r\n${styled(dim, 'artifact map.png https://example.org/map.png')}\r\n`)
    const workers = await onTerminal('byclaw', ['workers'], env).ended
    expect(workers.stdout).toContain('\u001b[1mWORKER')
    const plain = await onTerminal('byclaw', ['workers'], { ...env, NO_COLOR: '1' }).ended
    expect(plain.stdout).not.toContain('\u001b')
    await run('send', 'talker', 'silent', '--session', 's')
    const tail = onTerminal('byclaw', ['tail', 's', '--from', '0'], env)
    await tail.says(styled(bold, 'done'))
    await tail.end()
  })
})
