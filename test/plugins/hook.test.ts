import { Writable } from 'node:stream'
import { pino } from 'pino'
import { expect, onTestFinished, test, vi } from 'vitest'
import { Hook } from '../../src/plugins/hook.ts'
import { HookLine } from '../../src/plugins/hook-line.ts'
import { deferred } from '../../src/util/deferred.ts'
import { memoryLogger } from '../worker/harness.ts'

const task = {
  ...{
    sessionId: 's',
    messageId: 'm',
    traceId: 't',
    parentMessageId: '',
    agentType: 'agent',
    workerId: 'w',
    attempt: 2,
  },
  ...{ userCode: '', metadata: {} },
}

function open(run: (event: { task: typeof task }) => unknown, timeoutMs = 5_000) {
  const logger = memoryLogger()
  const hook = new Hook({ name: 'onTaskStart', run, timeoutMs, logger: logger.child({ pluginId: 'p' }) })
  return { hook, lines: logger.lines }
}

test('a call that is done at once makes nobody wait', () => {
  const { hook } = open(() => 7)
  expect(hook.call({ task })).toBeUndefined()
  expect(hook.stats).toMatchObject({ calls: 1, failures: 0, timeouts: 0, skipped: 0 })
})

test.each([
  [
    'throws',
    () => {
      throw new RangeError('boom')
    },
  ],
  ['rejects', () => Promise.reject(new RangeError('boom'))],
])('a call that %s is logged with all ids, and counted', async (_how, run) => {
  const { hook, lines } = open(run)
  await hook.call({ task })
  expect(hook.stats).toMatchObject({ calls: 1, failures: 1, timeouts: 0 })
  expect(lines).toEqual([
    {
      level: 'error',
      message: 'a hook of a plugin threw',
      fields: {
        ...{ pluginId: 'p', hook: 'onTaskStart', sessionId: 's', messageId: 'm', traceId: 't', attempt: 2 },
        err: expect.objectContaining({ message: 'boom' }),
      },
    },
  ])
})

const shy = () =>
  Object.defineProperty(new Error('shy'), 'message', {
    get() {
      throw new Error('do not look')
    },
  })

test.each([
  [
    'throws',
    () => {
      throw shy()
    },
  ],
  ['rejects with', () => Promise.reject(shy())],
])('a call that %s what cannot be looked at is logged all the same', async (_how, run) => {
  const lines: string[] = []
  const logger = pino(new Writable({ write: (chunk, _encoding, done) => done(void lines.push(String(chunk))) }))
  const hook = new Hook({ name: 'onTaskStart', run, timeoutMs: 5_000, logger })
  await hook.call({ task })
  expect(hook.stats).toMatchObject({ calls: 1, failures: 1 })
  expect(lines).toEqual([expect.stringContaining('an object that cannot be shown')])
})

test('a call that answers a promise of which nothing can be asked has thrown', async () => {
  const { hook, lines } = open(() => ({
    // biome-ignore lint/suspicious/noThenProperty: that is what is tried
    then() {
      throw new Error('nobody waits for me')
    },
  }))
  await hook.call({ task })
  expect(hook.stats).toMatchObject({ calls: 1, failures: 1 })
  expect(lines).toMatchObject([{ fields: { err: { message: 'nobody waits for me' }, messageId: 'm' } }])
})

test('a call that hangs is not waited for; after three in a row the hook is left out, and no call is made', async () => {
  const { hook, lines } = open(() => new Promise(() => undefined), 10)
  for (let time = 0; time < 5; time += 1) await hook.call({ task })
  expect(hook.stats).toMatchObject({ calls: 3, timeouts: 3, skipped: 2, failures: 0 })
  expect(lines.map(({ message }) => message)).toEqual([
    ...Array.from({ length: 3 }, () => 'a hook of a plugin takes too long and is not waited for'),
    'a hook of a plugin is left out for a while',
  ])
  expect(lines[0]?.fields).toMatchObject({ pluginId: 'p', messageId: 'm', timeoutMs: 10 })
})

test('one that was left out is tried once: it is left out again if it hangs, and called as ever if it does not', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  let isSlow = true
  const { hook } = open(() => (isSlow ? new Promise(() => undefined) : undefined), 10)
  const call = async (count: number) => {
    for (let time = 0; time < count; time += 1) {
      void hook.call({ task })
      await vi.advanceTimersByTimeAsync(10)
    }
  }
  await call(4)
  await vi.advanceTimersByTimeAsync(30_000)
  await call(3)
  expect(hook.stats).toMatchObject({ calls: 4, timeouts: 4, skipped: 3 })
  await vi.advanceTimersByTimeAsync(30_000)
  isSlow = false
  await call(3)
  expect(hook.stats).toMatchObject({ calls: 7, timeouts: 4, skipped: 3 })
})

test('one that is in time again ends the row', async () => {
  let isSlow = true
  const { hook } = open(() => (isSlow ? new Promise(() => undefined) : undefined), 10)
  for (const slow of [true, true, false, true, true, false]) {
    isSlow = slow
    await hook.call({ task })
  }
  expect(hook.stats).toMatchObject({ calls: 6, timeouts: 4, skipped: 0 })
})

test('one that rejects after its time is counted as both, and logged for both', async () => {
  const late = deferred()
  const { hook, lines } = open(() => late.promise, 10)
  await hook.call({ task })
  late.reject(new Error('late'))
  await new Promise(setImmediate)
  expect(hook.stats).toMatchObject({ calls: 1, timeouts: 1, failures: 1 })
  expect(lines).toHaveLength(2)
})

test('one that always throws does not drown the log, but is counted', () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const { hook, lines } = open(() => {
    throw new Error('always')
  })
  for (let time = 0; time < 100; time += 1) void hook.call({ task })
  expect(lines).toHaveLength(20)
  expect(hook.stats).toMatchObject({ calls: 100, failures: 100 })
  vi.advanceTimersByTime(60_001)
  void hook.call({ task })
  expect(lines).toHaveLength(21)
  expect(lines[20]?.fields).toMatchObject({ unlogged: 80 })
})

test('a line goes through the hooks of one event in order, then to the next event', async () => {
  const seen: string[] = []
  const gate = deferred()
  const { hook: slow } = open(async () => {
    await gate.promise
    seen.push('slow')
  })
  const { hook: quick } = open(() => {
    seen.push('quick')
  })
  const line = new HookLine()
  line.tell([slow, quick], { task })
  line.tell([quick], { task })
  let isIdle = false
  const idle = new Promise<void>((resolve) => {
    line.whenIdle(() => {
      isIdle = true
      resolve()
    })
  })
  await new Promise(setImmediate)
  expect({ seen, isIdle }).toEqual({ seen: [], isIdle: false })
  gate.resolve()
  await idle
  expect(seen).toEqual(['slow', 'quick', 'quick'])
})

test('a line that falls behind leaves events out, counts them, and keeps the last one', async () => {
  const gate = deferred()
  const { hook: slow } = open(() => gate.promise)
  const { hook: last } = open(() => undefined)
  const line = new HookLine()
  for (let time = 0; time < 1_501; time += 1) line.tell([slow], { task })
  line.tell([last], { task }, true)
  expect(slow.stats.skipped).toBe(500)
  gate.resolve()
  await new Promise<void>((resolve) => line.whenIdle(resolve))
  expect(slow.stats.calls).toBe(1_001)
  expect(last.stats.calls).toBe(1)
})
