import { existsSync, readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test } from 'vitest'
import { VERSION } from '../../src/version.ts'
import { testRedisUrl } from '../support/redis.ts'
import { command, type Outcome, workerCommand } from './support/command.ts'
import { builtProgram, byclaw, byclawWorker, Program, startByclaw, startByclawWorker } from './support/program.ts'
import { agentSource, plainAgent, project } from './support/project.ts'
import { meetingPlace, startTalker, TALKER } from './support/talker.ts'
import { HAS_TERMINAL, onTerminal, styled } from './support/terminal.ts'

/** The one line that a refused start says; by itself, or in this process where nothing was begun. */
async function refusal(
  args: readonly string[],
  env: Record<string, string> = {},
  run: (args: readonly string[], options: { env: Record<string, string> }) => Promise<Outcome> = workerCommand,
): Promise<string> {
  const { code, stderr } = await run(args, { env })
  expect(code).toBeGreaterThan(0)
  expect(stderr.trimEnd().split('\n')).toHaveLength(1)
  return stderr.trimEnd()
}

describe('a worker', () => {
  test('runs tasks, drains on SIGTERM, and ends with 0', async () => {
    const env = meetingPlace()
    const worker = await startTalker(env)
    const sent = startByclaw(['send', 'talker', 'slow'], { env })
    await sent.says('taking my time')
    const { code } = await worker.end('SIGTERM')
    expect(code).toBe(0)
    expect(await sent.ended).toMatchObject({ code: 0, stdout: expect.stringContaining('北京 is warm') })
  })

  test('ends at once when asked a second time', async () => {
    const env = meetingPlace()
    const worker = await startTalker(env)
    await startByclaw(['send', 'talker', 'hang'], { env }).says('taking my time')
    worker.child.kill('SIGINT')
    await worker.says('signal received')
    expect((await worker.end('SIGINT')).code).toBe(130)
  })

  test('ends with 0 on Ctrl-C too, although its code left a timer and a server open', async () => {
    const cwd = await project({
      'agent.mjs': `${plainAgent()}
import { createServer } from 'node:net'
createServer().listen(0)
setInterval(() => {}, 1000)
`,
    })
    const worker = startByclawWorker(['--worker-class', './agent.mjs'], { cwd, env: meetingPlace() })
    await worker.says('worker is consuming')
    expect((await worker.end('SIGINT')).code).toBe(0)
  })

  test('ends with 1 and an entry in its log when its code crashes', async () => {
    const source = plainAgent().replace("return 'heard'", "setTimeout(() => { throw new Error('lost') }); return 1")
    const cwd = await project({ 'agent.mjs': source })
    const env = meetingPlace()
    const worker = startByclawWorker(['--worker-class', './agent.mjs'], { cwd, env })
    await worker.says('worker is consuming')
    await command(['send', 'echo', 'x', '--no-wait'], { env })
    const { code, stderr } = await worker.ended
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(worker.log().at(-1)).toMatchObject({ level: 50, err: { message: 'lost' }, origin: 'uncaughtException' })
  })

  test('outlives who reads its output, also when its code prints', async () => {
    const source = plainAgent().replace("return 'heard'", "console.log('hearing'); return 'heard'")
    const cwd = await project({ 'agent.mjs': source })
    const env = meetingPlace()
    const worker = startByclawWorker(['--worker-class', './agent.mjs'], { cwd, env })
    await worker.says('worker is consuming')
    worker.child.stdout?.destroy()
    for (const text of ['one', 'two']) expect(await command(['send', 'echo', text], { env })).toMatchObject({ code: 0 })
    expect(await worker.end('SIGTERM')).toMatchObject({ code: 0, stderr: '' })
  })

  test.skipIf(!existsSync('/dev/full')).each([
    ['info', 'its log is written', ''],
    ['silent', 'its code prints', "console.log('hearing'); "],
  ])('at level %s outlives a disk that is full when %s, and ends when it is asked to', async (level, _what, print) => {
    const cwd = await project({ 'agent.mjs': plainAgent().replace("return 'heard'", `${print}return 'heard'`) })
    const env = { ...meetingPlace(), LOG_LEVEL: level }
    const args = [builtProgram('byclaw-worker'), '--worker-class', './agent.mjs']
    const script = 'exec "$0" "$@" > /dev/full'
    const worker = new Program('/bin/sh', ['-c', script, process.execPath, ...args], { cwd, env })
    for (const text of ['one', 'two']) {
      const sent = command(['send', 'echo', text, '--timeout-ms', '20000'], { env })
      expect(await sent).toMatchObject({ code: 0 })
    }
    expect(await worker.end('SIGTERM')).toMatchObject({ code: 0, stderr: '' })
  })

  test.each([[], ['--watch']])(
    'that npm has started stops in order when npm ends without a word %s',
    async (...flags) => {
      const start = [process.execPath, builtProgram('byclaw-worker'), '--worker-class', './agent.mjs', ...flags]
      const manifest = { name: 'mine', type: 'module', scripts: { start: start.join(' ') } }
      const cwd = await project({ 'agent.mjs': plainAgent(), 'package.json': JSON.stringify(manifest) })
      const npm = new Program('npm', ['start', '--silent'], { cwd, env: meetingPlace() })
      await npm.says('worker is consuming')
      // It has ended when all that it has started has closed its output as well.
      const { stdout } = await npm.end('SIGTERM')
      expect(stdout).toContain('worker has stopped')
    },
  )

  test('ends, if it begins at all, when the signal came while its history was opened', async () => {
    const source = plainAgent().replace(
      'getCap',
      "constructor() { super(); setImmediate(() => process.kill(process.pid, 'SIGTERM')) }\n  getCap",
    )
    const cwd = await project({ 'agent.mjs': source })
    const env = { ...meetingPlace(), BYAI_HISTORY_URL: 'postgres://127.0.0.1:1/nobody' }
    const worker = startByclawWorker(['--worker-class', './agent.mjs'], { cwd, env })
    const { stdout, ...end } = await worker.ended
    expect(end).toEqual({ code: 0, signal: null, stderr: '' })
    // Newer versions of Node read a module in so little time that the signal comes to the worker itself.
    if (stdout !== '') expect(stdout).toContain('worker has stopped')
  })

  test('ends with 1 when another process took its id, since nobody asked it to', async () => {
    const env = meetingPlace()
    const worker = await startTalker(env, ['--worker-id', 'w-1', '--lease-ms', '600'])
    const redis = new Redis(testRedisUrl())
    onTestFinished(() => redis.disconnect())
    await redis.hset(`${env.BYAI_WORKER_KEY_PREFIX}:worker:w-1`, 'incarnation', 'another')
    expect((await worker.ended).code).toBe(1)
  })
})

describe('settings', () => {
  const OLD = { BYAI_REDIS_MAX_CONNECTIONS: '20' }

  test('a flag beats the environment, which beats the default; of a variable of older SDKs a loud log says that it is ignored', async () => {
    const env = meetingPlace()
    const prefix = env.BYAI_WORKER_KEY_PREFIX
    const worker = await startTalker(
      { ...env, ...OLD, BYAI_WORKER_KEY_PREFIX: 'other', BYAI_WORKER_ID: 'by-env', BYAI_WORKER_CONCURRENCY: '7' },
      ['--worker-id', 'by-flag', '--key-prefix', prefix, '--connect-timeout-ms', '4000', '--log-level', 'debug'],
    )
    expect(worker.stdout).toContain('BYAI_REDIS_MAX_CONNECTIONS is ignored')
    const { stdout } = await command(['workers', '--json'], { env })
    expect(JSON.parse(stdout)).toMatchObject({ workerId: 'by-flag', maxConcurrency: 7 })
    await worker.end()
  })

  test('all by the environment, and the log has its level by default', async () => {
    const env = { ...meetingPlace(), ...OLD, BYAI_WORKER_CLASS: TALKER, BYAI_WORKER_ID: 'by-env' }
    const worker = startByclawWorker([], { env })
    await worker.says('worker is consuming')
    expect(worker.log().at(-1)).toMatchObject({ workerId: 'by-env', capabilities: ['talker'] })
    expect(worker.stdout).not.toContain('BYAI_REDIS_MAX_CONNECTIONS')
    await worker.end()
  })
})

describe('logs', () => {
  test('are JSON lines where nobody watches, of the level asked for', async () => {
    const worker = await startTalker({ ...meetingPlace(), LOG_LEVEL: 'INFO' })
    await worker.end()
    expect(worker.log().map(({ msg }) => msg)).toContain('worker has stopped')
    expect(worker.stderr).toBe('')
    const silent = startByclawWorker(['--worker-class', TALKER, '--log-level', 'silent', '--dev'], {
      env: meetingPlace(),
    })
    await silent.says('Try in another terminal')
    expect((await silent.end()).stdout).toBe('')
  })

  test.runIf(HAS_TERMINAL)('are for reading on a terminal, in colour unless NO_COLOR says otherwise', async () => {
    const coloured = onTerminal('byclaw-worker', ['--worker-class', TALKER], meetingPlace())
    await coloured.says(`${styled([32, 39], 'INFO')}: ${styled([36, 39], 'worker is consuming')}`)
    await coloured.end()
    const plain = onTerminal('byclaw-worker', ['--worker-class', TALKER], { ...meetingPlace(), NO_COLOR: '1' })
    await plain.says('] INFO: worker is consuming {"capabilities":["talker"]')
    await plain.end()
  })
})

describe('refuses in one clear line', () => {
  test('a missing worker class', async () => {
    expect(await refusal([], {}, byclawWorker)).toMatch(
      /^byclaw-worker: --worker-class is missing: .*\.\/agent\.ts#WeatherAgent/,
    )
  })

  test('an unknown flag, with a suggestion', async () => {
    expect(await refusal(['--redis-urk', 'x'])).toBe(
      "byclaw-worker: unknown option '--redis-urk' (Did you mean --redis-url?)",
    )
  })

  test('an argument too many, and a flag without its value', async () => {
    expect(await refusal(['agent.ts'])).toMatch(/too many arguments/)
    expect(await refusal(['--lease-ms'])).toMatch(/--lease-ms/)
  })

  test.each([
    [['--lease-ms', 'soon'], {}, '--lease-ms is invalid: must be a number (got "soon")'],
    [['--lease-ms', '1'], {}, '--lease-ms is invalid: '],
    [['--history-table', 'chat.said'], {}, '--history-table is invalid: it is for a history in Postgres'],
    [['--history-pooler'], {}, '--history-pooler is invalid: it is for a history in Postgres'],
    [['--max-concurrency', '2.5'], {}, '--max-concurrency is invalid: '],
    [[], { BYAI_WORKER_CONCURRENCY: '0' }, 'BYAI_WORKER_CONCURRENCY is invalid: '],
    [['--worker-id', 'a b'], {}, '--worker-id is invalid: '],
    [['--worker-class', ''], {}, '--worker-class is invalid: must not be blank (got "")'],
    [['--consumer-group', ' '], {}, '--consumer-group is invalid: must not be blank (got " ")'],
    [[], { BYAI_WORKER_PLUGIN_DIR: '  ' }, 'BYAI_WORKER_PLUGIN_DIR is invalid: must not be blank (got "  ")'],
    [[], { LOG_LEVEL: 'loud' }, 'LOG_LEVEL is invalid: must be one of trace, debug, info,'],
    [['--redis-port', '0', '--redis-host', 'x'], {}, '--redis-port is invalid: '],
    [['--redis-sentinels', 'a:1'], {}, '--redis-sentinel-name is invalid: Sentinels need it'],
  ])('a bad value: %j %j', async (args, env, expected) => {
    const said = await refusal(['--worker-class', TALKER, ...args], env)
    expect(said).toContain(`byclaw-worker: ${expected}`)
    expect(said).toMatch(/\(GW_INVALID_ARGUMENT\)$/)
  })

  test('a bad URL, without its password', async () => {
    const said = await refusal(['--worker-class', TALKER], { REDIS_URL: 'http://user:secret@host' })
    expect(said).toContain('REDIS_URL is invalid: expected redis:// or rediss://')
    expect(said).not.toContain('secret')
  })

  test('a Redis that cannot be reached, without the password', async () => {
    const url = 'redis://user:secret@127.0.0.1:1'
    const said = await refusal(
      ['--worker-class', TALKER, '--redis-url', url, '--connect-timeout-ms', '50'],
      {},
      byclawWorker,
    )
    expect(said).toMatch(/^byclaw-worker: Redis at 127\.0\.0\.1:1\/0 cannot be reached: .+ \(GW_REDIS_UNREACHABLE\)$/)
    expect(said).not.toContain('secret')
  })

  test('a worker id that is in use', async () => {
    const env = meetingPlace()
    const worker = await startTalker(env, ['--worker-id', 'w-1', '--lease-ms', '1000'])
    expect(
      await refusal(['--worker-class', TALKER, '--worker-id', 'w-1', '--lease-ms', '1000'], env, byclawWorker),
    ).toMatch(/worker id 'w-1' is in use by a live worker .+ \(GW_WORKER_ID_TAKEN\)$/)
    expect((await worker.end()).code).toBe(0)
  })

  test('an onStartup that throws, with its place', async () => {
    const source = agentSource().replace('getCap', "async onStartup() { throw new Error('no model') }\n  getCap")
    const cwd = await project({ 'agent.ts': source })
    const { code, stderr } = await byclawWorker(['--worker-class', './agent.ts'], { cwd, env: meetingPlace() })
    expect({ code, stderr }).toEqual({ code: 1, stderr: `byclaw-worker: no model (${cwd}/agent.ts:3:29)\n` })
  })
})

test('--version', async () => {
  expect(await byclawWorker(['--version'])).toMatchObject({ code: 0, stdout: `${VERSION}\n`, stderr: '' })
  expect(await byclaw(['--version'])).toMatchObject({ code: 0, stdout: `${VERSION}\n`, stderr: '' })
})

test('both programs can be run by their path', () => {
  const { bin } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  expect(bin).toEqual({ 'byclaw-worker': './dist/cli/byclaw-worker.js', byclaw: './dist/cli/byclaw.js' })
  for (const name of ['byclaw', 'byclaw-worker'] as const) {
    expect(readFileSync(builtProgram(name), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/)
  }
})
