import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { GatewayClient } from '../../src/client/client.ts'
import type { RedriveOptions, RedriveProgress } from '../../src/client/dead-letter-options.ts'
import { TerminalError } from '../../src/errors.ts'
import type { AskAgentCommand } from '../../src/protocol/command.ts'
import { RedisClient } from '../../src/redis/client.ts'
import type { Priority } from '../../src/redis/keys.ts'
import { DeadLetters } from '../../src/store/dead-letters.ts'
import { TaskRevivals } from '../../src/store/task-revivals.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { connect } from '../redis/harness.ts'
import { unhandledRejections } from '../support/rejections.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { agendaOf, collect, envelope, Gate, House } from '../worker/harness.ts'

/** A house with a hand on its dead letters. */
class Cemetery extends House {
  readonly letters = new DeadLetters(connect().client('patient'), this.keys)

  /** A task that failed in a worker, and lies in the dead letters. */
  async bury(
    messageId: string,
    options: { fence?: string; data?: string; expired?: boolean; sessionId?: string; lane?: Priority } = {},
  ): Promise<void> {
    const { fence = 'F:1:1-0:w', sessionId = 's', data = envelope(messageId, sessionId), expired = false } = options
    if (!expired) {
      const record = { fence, agent_type: 'agent', created_at: '1', failures: '1' }
      // What was revived has no end any more.
      const end = fence.startsWith('Q:') ? {} : { finished_at: '2', error: '{}' }
      await this.redis.hset(this.keys.task(sessionId, messageId), { ...record, ...end })
    }
    const key = this.keys.control('agent', options.lane)
    const entryId = (await this.redis.xadd(key, '*', 'data', data)) as string
    await this.give(entryId, sessionId, messageId, key)
  }

  /** What no worker can tell the task of. */
  async buryJunk(data: string): Promise<void> {
    await this.give((await this.add({ data })) as string, '', '')
  }

  /** The entry of a letter is off its stream: acked and deleted. */
  async give(entryId: string, sessionId: string, messageId: string, key = this.keys.control('agent')): Promise<void> {
    const history = [{ attempt: 1, code: 'GW_TASK_FAILED', message: 'no', at: 1, workerId: 'w', entryId }]
    const letter = { capability: 'agent', reason: 'failed', detail: 'no', entryId, workerId: 'w', sessionId, messageId }
    await this.letters.add({ ...letter, epoch: 1, history }, key)
    await this.redis.xdel(key, entryId)
  }

  left(): Promise<number> {
    return this.letters.count('agent')
  }

  fence(messageId: string): Promise<string | null> {
    return this.redis.hget(this.keys.task('s', messageId), 'fence')
  }

  /** The fields of the entries on the control stream. */
  async entries(): Promise<Record<string, string>[]> {
    const all = await this.redis.xrange(this.keys.control('agent'), '-', '+')
    return all.map(([, flat]) =>
      Object.fromEntries(flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1] ?? '']] : []))),
    )
  }
}

describe('a task that failed', () => {
  test('and was redriven is followed from its beginning to its last end', async () => {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    let life = 0
    await house.work(async (_, context) => {
      life += 1
      await context.emitChunk(`life ${life}`)
      if (life === 1) throw new Error('no')
      await gate.pass()
      return life
    })
    const ref = { sessionId: 's', messageId: 'm' }
    await client.ask({ ...ref, targetAgentType: 'agent', content: 'hi' })
    await house.settled()
    await client.redriveDeadLetters()
    await gate.reached(1)
    const running = collect(client.subscribe('s', { messageId: 'm' }))
    const present = await collect(client.subscribe('s', { messageId: 'm', follow: false }))
    expect(present.map(({ type }) => type)).toEqual(['chunk', 'error', 'done', 'rewind', 'chunk'])
    gate.open()
    const ends = (await running).filter(({ type }) => type === 'done')
    expect(ends).toMatchObject([{ status: 'FAILED' }, { status: 'COMPLETED', result: 2 }])
    expect(await collect(client.subscribe('s', { messageId: 'm' }))).toEqual(await running)
  })

  test('lives again: same ids, a rewind, a fresh budget, an end of its own, and no letter', async () => {
    const house = new Cemetery()
    const client = house.client()
    const attempts: number[] = []
    let broken = true
    const retry = { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 10 } } as const
    await house.work(
      (command, context) => {
        attempts.push(context.attempt)
        void context.emitChunk(broken ? 'hm' : 'ah')
        if (broken) throw new Error('no')
        return { answered: command.content }
      },
      { retry },
    )
    const ref = { sessionId: 's', messageId: 'm' }
    expect(await client.ask({ targetAgentType: 'agent', ...ref, content: 'why?' })).toMatchObject({ status: 'FAILED' })
    await house.settled()
    const failure = { code: 'GW_TASK_FAILED', message: 'no' }
    expect(await client.listDeadLetters('agent')).toMatchObject([
      {
        reason: 'failed',
        ...ref,
        epoch: 2,
        history: [
          { attempt: 1, ...failure },
          { attempt: 2, ...failure },
        ],
      },
    ])
    // It fails once more, and its history goes on.
    await client.redriveDeadLetters({ capability: 'agent' })
    expect(await client.result({ ...ref, timeoutMs: 10_000 })).toMatchObject({ status: 'FAILED' })
    await house.settled()
    const [again] = await client.listDeadLetters('agent')
    expect(again).toMatchObject({ epoch: 4 })
    expect(again?.history.map(({ attempt }) => attempt)).toEqual([1, 2, 1, 2])
    broken = false
    expect(await client.redriveDeadLetters({ capability: 'agent' })).toEqual({ matched: 1, redriven: 1, skipped: [] })
    expect(await client.result({ ...ref, timeoutMs: 10_000 })).toMatchObject({
      ...{ status: 'COMPLETED', messageId: 'm', data: { answered: 'why?' }, attempts: 1 },
    })
    await house.settled()
    expect(attempts).toEqual([1, 2, 1, 2, 1])
    expect(await house.redis.hget(house.keys.task('s', 'm'), 'error')).toBeNull()
    const life = ['rewind', 'chunk', 'error']
    const events = (await house.events('s')).map(({ event_type }) => event_type)
    expect(events).toEqual([...life.slice(1), ...life, 'done', ...life, ...life, 'done', 'rewind', 'chunk', 'done'])
    const [first, second, third] = await house.dones('s', 'm')
    expect([first, second, third]).toMatchObject([
      ...[{ data: { status: 'FAILED' } }, { data: { status: 'FAILED' } }, { data: { status: 'COMPLETED' } }],
    ])
    expect(await house.left()).toBe(0)
  })

  test('waits on its own lane, with its turn and all that its entry had', async () => {
    const house = new Cemetery()
    await house.redis.hset(house.keys.task('s', 'm'), { fence: 'F:6:1-0:w', created_at: '1' })
    const lane = house.keys.control('agent', 'low')
    const entryId = (await house.redis.xadd(lane, '*', 'kind', 'x', 'data', envelope('m', 's'), 'turn', '5')) as string
    const ids = { sessionId: 's', messageId: 'm', entryId, workerId: 'w' }
    await house.letters.add({ ...ids, capability: 'agent', reason: 'failed', detail: '' }, lane)
    await house.redis.del(lane)
    await house.client().redriveDeadLetters()
    const [entry] = await house.redis.xrange(lane, '-', '+')
    expect(entry?.[1]).toEqual(['data', envelope('m', 's'), 'kind', 'x', 'turn', '6'])
    expect(await house.fence('m')).toBe('Q:6::')
  })

  test('whose record is gone is made anew from its envelope', async () => {
    const house = new Cemetery()
    await house.bury('m', { expired: true })
    const client = house.client()
    await client.redriveDeadLetters()
    expect(await house.fence('m')).toBe('Q:1::')
    expect(await client.getTask({ sessionId: 's', messageId: 'm' })).toMatchObject({
      ...{ status: 'QUEUED', agentType: 'agent', traceId: 'trace' },
    })
    await house.work((command) => command.content)
    expect(await client.result({ sessionId: 's', messageId: 'm', timeoutMs: 10_000 })).toMatchObject({ data: 'hi' })
    await house.settled()
  })
})

describe('several at once, and again after a crash', () => {
  test('run each task once', async () => {
    const house = new Cemetery()
    const names = Array.from({ length: 60 }, (_, index) => `m-${index}`)
    for (const name of names) await house.bury(name)
    const ran: string[] = []
    await house.work((command: AskAgentCommand) => void ran.push(command.header.messageId))
    const results = await Promise.all(
      Array.from({ length: 4 }, () => house.client().redriveDeadLetters({ capability: 'agent' })),
    )
    expect(results.reduce((sum, { redriven }) => sum + redriven, 0)).toBe(60)
    for (const { skipped } of results) {
      expect(['waiting', 'running', 'ended', 'gone']).toEqual(
        expect.arrayContaining([...new Set(skipped.map(({ outcome }) => outcome))]),
      )
    }
    await waitFor(() => ran.length >= 60, { timeoutMs: 10_000, message: () => `60 runs, there are ${ran.length}` })
    await house.settled()
    expect(ran.toSorted()).toEqual(names.toSorted())
    for (const name of names) expect(await house.dones('s', name)).toHaveLength(1)
    expect(await house.left()).toBe(0)
  })

  test('a redriven task has no time by which it must start, whatever its first life had', async () => {
    const house = new House()
    const client = house.client()
    const ref = { sessionId: 's', messageId: 'm' }
    let broken = true
    const handle = () => {
      if (broken) throw new TerminalError('no')
      return 'mended'
    }
    const worker = await house.work(handle)
    await client.ask({ targetAgentType: 'agent', ...ref, content: 'x', expiresInMs: 1_500 })
    await house.settled()
    await worker.stop()
    broken = false
    expect(await client.redriveDeadLetters({ capability: 'agent' })).toMatchObject({ redriven: 1 })
    // Keeps the agenda beyond the old appointment.
    await house.work(() => null, { capabilities: ['other'] })
    await waitFor(async () => (await agendaOf(house)).length === 0, { timeoutMs: 10_000 })
    await house.work(handle)
    expect(await client.result({ ...ref, timeoutMs: 10_000 })).toMatchObject({ status: 'COMPLETED', data: 'mended' })
  })

  test('a redrive that died after the record, or after the entry, is done by the next one', async () => {
    const house = new Cemetery()
    for (const name of ['m-1', 'm-2']) await house.bury(name, { fence: 'Q:1::' })
    await house.add({ data: envelope('m-2', 's'), turn: '1' })
    const client = house.client()
    expect(await client.redriveDeadLetters()).toMatchObject({ matched: 2, redriven: 2 })
    expect(await house.left()).toBe(0)
    let ran = 0
    await house.work(() => {
      ran += 1
    })
    for (const messageId of ['m-1', 'm-2']) await client.result({ sessionId: 's', messageId, timeoutMs: 10_000 })
    await house.settled()
    expect(ran).toBe(2)
  })

  test.each([
    ['record', (house: Cemetery) => house.keys.task('s', 'm-2'), 's'],
    ['index', (house: Cemetery) => house.keys.session('other'), 'other'],
  ] as const)(
    'whose %s is a key of another kind keeps its letter, and holds no other up',
    async (_, keyOf, sessionId) => {
      const house = new Cemetery()
      const client = house.client()
      const key = keyOf(house)
      for (const messageId of ['m-1', 'm-2', 'm-3']) {
        await house.bury(messageId, messageId === 'm-2' ? { sessionId } : {})
      }
      await house.redis.del(key)
      await house.redis.set(key, 'x')
      const letters: RedriveProgress['letters'][number][] = []
      const onProgress = (progress: RedriveProgress) => letters.push(...progress.letters)
      expect(await client.redriveDeadLetters({ onProgress })).toMatchObject({
        ...{ matched: 3, redriven: 2, skipped: [{ messageId: 'm-2', outcome: 'wrong-kind', isRemoved: false }] },
      })
      expect(letters.map(({ messageId, outcome }) => [messageId, outcome])).toEqual([
        ['m-1', 'redriven'],
        ['m-2', 'wrong-kind'],
        ['m-3', 'redriven'],
      ])
      expect((await house.entries()).map(({ turn }) => turn)).toEqual(['1', '1'])
      expect(await house.left()).toBe(1)
      await house.redis.del(key)
      expect(await client.redriveDeadLetters()).toMatchObject({ matched: 1, redriven: 1 })
      await house.work(() => 'done')
      expect(await client.result({ sessionId, messageId: 'm-2' })).toMatchObject({ data: 'done' })
      await house.settled()
      expect(await house.left()).toBe(0)
    },
  )

  test('a task that failed before it was begun is redriven though whoever did so first died halfway, and its first entry is stale', async () => {
    const house = new Cemetery()
    await house.bury('m', { fence: 'F:0::' })
    const [letter] = await house.client().listDeadLetters()
    const revivals = new TaskRevivals(connect().client('patient'), house.keys)
    const ref = { sessionId: 's', messageId: 'm', turn: 0, entryId: letter?.entryId ?? '' }
    await revivals.revive([{ ...ref, birth: () => expect.fail('its record is there') }], false)
    await house.add({ data: envelope('m', 's') })
    const attempts: number[] = []
    await house.work((_, context) => attempts.push(context.attempt))
    await house.settled()
    expect(attempts).toEqual([])
    expect(await house.client().redriveDeadLetters()).toMatchObject({ matched: 1, redriven: 1, skipped: [] })
    await house.settled()
    expect([attempts, await house.left(), await house.fence('m')]).toEqual([[1], 0, expect.stringMatching(/^C:2:/)])
  })

  test('whose queue is a key of another kind keep their letters and their ends, and hold no other up', async () => {
    const house = new Cemetery()
    const client = house.client()
    for (const messageId of ['m-1', 'm-2', 'm-3']) {
      await house.bury(messageId, { fence: 'F:0::', lane: messageId === 'm-2' ? 'high' : 'normal' })
    }
    const high = house.keys.control('agent', 'high')
    await house.redis.set(high, 'x')
    const skipped = [{ messageId: 'm-2', outcome: 'wrong-kind', isRemoved: false }]
    expect(await client.redriveDeadLetters({ dryRun: true })).toMatchObject({ matched: 3, redriven: 2, skipped })
    expect(await client.redriveDeadLetters()).toMatchObject({ matched: 3, redriven: 2, skipped })
    expect([await house.left(), (await house.entries()).length, await house.fence('m-2')]).toEqual([1, 2, 'F:0::'])
    await house.redis.del(high)
    expect(await client.redriveDeadLetters()).toMatchObject({ matched: 1, redriven: 1 })
    await house.work(() => 'done')
    expect(await client.result({ sessionId: 's', messageId: 'm-2' })).toMatchObject({ data: 'done' })
    await house.settled()
    expect(await house.left()).toBe(0)
  })

  test('a task that runs is left alone, and its old letter goes', async () => {
    const house = new Cemetery()
    const gate = new Gate()
    await house.work(() => gate.pass())
    const client = house.client()
    await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'x' })
    await gate.reached(1)
    // A letter of a life before, and the one of this very entry, whose worker is about to end the task.
    const [entry] = (await house.redis.xrange(house.keys.control('agent'), '-', '+')) as [[string, string[]]]
    const about = { capability: 'agent', reason: 'failed', detail: '', workerId: 'w', data: envelope('m', 's') }
    const letter = { ...about, sessionId: 's', messageId: 'm' }
    await house.letters.add({ ...letter, entryId: entry[0] }, house.keys.control('agent'))
    const own = await client.redriveDeadLetters()
    expect(own).toMatchObject({ matched: 1, redriven: 0, skipped: [{ outcome: 'running', isRemoved: false }] })
    await client.dropDeadLetters()
    await house.letters.add({ ...letter, entryId: '1-0' }, house.keys.control('agent'))
    const old = await client.redriveDeadLetters()
    expect(old).toMatchObject({ matched: 1, redriven: 0, skipped: [{ outcome: 'running', isRemoved: true }] })
    expect([await house.left(), await house.waiting()]).toEqual([0, 1])
    gate.open()
    await house.settled()
    expect(gate.arrived).toBe(1)
  })

  test('a task that came to another end stays so', async () => {
    const house = new Cemetery()
    await house.bury('m', { fence: 'C:2:5-0:w' })
    expect(await house.client().redriveDeadLetters()).toEqual({
      ...{ matched: 1, redriven: 0 },
      skipped: [
        {
          ...{ id: expect.any(String), capability: 'agent', sessionId: 's', messageId: 'm' },
          ...{ outcome: 'ended', isRemoved: true },
        },
      ],
    })
    expect([await house.left(), await house.waiting(), await house.fence('m')]).toEqual([0, 0, 'C:2:5-0:w'])
  })
})

describe('what names no task', () => {
  test('goes back as it was, and what is still not understood comes back as one letter, whoever sent it twice', async () => {
    const house = new Cemetery()
    await house.buryJunk('{ junk')
    const [before] = await house.client().listDeadLetters()
    const results = await Promise.all([house.client().redriveDeadLetters(), house.client().redriveDeadLetters()])
    expect(results.reduce((sum, { redriven }) => sum + redriven, 0)).toBe(1)
    expect((await house.entries())[0]).toEqual({ data: '{ junk', redrive_of: before?.id })
    await house.work(() => 'fine')
    await house.settled()
    const after = await house.client().listDeadLetters()
    expect(after).toMatchObject([{ reason: 'bad-json', data: '{ junk' }])
    expect(after[0]?.id).not.toBe(before?.id)
  })

  test('stays where there is no envelope to send', async () => {
    const house = new Cemetery()
    const entryId = (await house.add({ other: 'x' })) as string
    await house.give(entryId, '', '')
    const result = await house.client().redriveDeadLetters()
    expect(result).toMatchObject({ redriven: 0, skipped: [{ outcome: 'no-data', isRemoved: false }] })
    expect(await house.left()).toBe(1)
  })

  test('may be given an envelope, which makes it a task', async () => {
    const house = new Cemetery()
    await house.buryJunk('{ junk')
    const client = house.client()
    await client.redriveDeadLetters({ data: envelope('m', 's', { content: 'mended' }) })
    await house.work((command) => command.content)
    expect(await client.result({ sessionId: 's', messageId: 'm', timeoutMs: 10_000 })).toMatchObject({ data: 'mended' })
  })
})

describe('an envelope of the operator’s own', () => {
  test('is what runs', async () => {
    const house = new Cemetery()
    await house.bury('m')
    await house.bury('other')
    const client = house.client()
    const data = envelope('m', 's', { content: 'mended' })
    expect(await client.redriveDeadLetters({ messageId: 'm', data })).toMatchObject({ matched: 1, redriven: 1 })
    expect(await house.entries()).toEqual([{ data, turn: '1' }])
    expect(await house.left()).toBe(1)
  })

  test('is for the letter that was found, not for one that comes meanwhile', async () => {
    const house = new Cemetery()
    await house.bury('m')
    const { list } = DeadLetters.prototype
    const spy = vi.spyOn(DeadLetters.prototype, 'list').mockImplementationOnce(async function (
      this: DeadLetters,
      ...args
    ) {
      const found = await list.apply(this, args)
      await house.bury('m-2')
      return found
    })
    onTestFinished(() => spy.mockRestore())
    const data = envelope('m', 's', { content: 'mended' })
    const result = await house.client().redriveDeadLetters({ capability: 'agent', data })
    expect(result).toEqual({ matched: 1, redriven: 1, skipped: [] })
    expect(await house.entries()).toEqual([{ data, turn: '1' }])
    expect([await house.left(), await house.fence('m-2')]).toEqual([1, 'F:1:1-0:w'])
  })

  test.each([
    ['{', { messageId: 'm' }, /JSON/],
    [envelope('m', 's', { content: '' }), { messageId: 'm' }, /content/],
    [envelope('m', 's', { content: 'x'.repeat(900) }), { messageId: 'm' }, /the limit is 500/],
    [envelope('m', 'elsewhere'), { messageId: 'm' }, /must keep session 's' and message 'm'/],
    [envelope('m-2', 's'), { messageId: 'm' }, /must keep session 's' and message 'm'/],
    [envelope('m', 's'), {}, /exactly one must match/],
    [envelope('m', 's'), { messageId: 'nobody' }, /exactly one must match/],
  ])('%s for %j is refused before anything is written', async (data, filter, why) => {
    const house = new Cemetery()
    await house.bury('m')
    await house.bury('m-2')
    const client = house.client({ maxPayloadBytes: 500 })
    await expect(client.redriveDeadLetters({ ...filter, data })).rejects.toMatchObject({
      ...{ code: 'GW_INVALID_ARGUMENT', message: expect.stringMatching(why) },
    })
    expect([await house.left(), await house.waiting(), await house.fence('m')]).toEqual([2, 0, 'F:1:1-0:w'])
  })
})

describe('many', () => {
  test('in batches, each reported; a dry run says the same and writes nothing', async () => {
    const house = new Cemetery()
    const pipeline = house.redis.pipeline()
    const count = 1_200
    for (let i = 0; i < count; i += 1) {
      const messageId = `m-${i}`
      pipeline.hset(house.keys.task('s', messageId), {
        fence: i % 6 === 0 ? 'C:1:1-0:w' : 'F:1:1-0:w',
        created_at: `${i}`,
      })
      const letter = { data: envelope(messageId, 's'), session_id: 's', message_id: messageId, reason: 'failed' }
      pipeline.xadd(house.keys.dead('agent'), '*', ...Object.entries(letter).flat())
    }
    await pipeline.exec()
    const client = house.client()
    const run = async (dryRun: boolean) => {
      const progress: RedriveProgress[] = []
      const onProgress = (step: RedriveProgress) => void progress.push(step)
      const result = await client.redriveDeadLetters({ capability: 'agent', dryRun, onProgress })
      const { letters: _, ...last } = progress.at(-1) as RedriveProgress
      expect(last).toEqual({ matched: count, redriven: 1_000, skipped: 200 })
      expect(progress.length).toBeGreaterThan(2)
      for (const { letters } of progress) expect(letters.length).toBeLessThanOrEqual(500)
      expect(progress.flatMap(({ letters }) => letters.map(({ messageId }) => messageId))).toEqual(
        Array.from({ length: count }, (_, index) => `m-${index}`),
      )
      return result
    }
    const dry = await run(true)
    expect([await house.left(), await house.waiting(), await house.fence('m-1')]).toEqual([count, 0, 'F:1:1-0:w'])
    expect(await run(false)).toEqual(dry)
    expect([await house.left(), await house.waiting(), await house.fence('m-1')]).toEqual([0, 1_000, 'Q:1::'])
  })

  test('no more than the limit, the oldest first', async () => {
    const house = new Cemetery()
    for (const name of ['m-1', 'm-2', 'm-3']) await house.bury(name)
    const client = house.client()
    expect(await client.redriveDeadLetters({ limit: 2 })).toMatchObject({ matched: 2, redriven: 2 })
    expect(await client.listDeadLetters()).toMatchObject([{ messageId: 'm-3' }])
    // Nor where they come in several batches.
    for (const name of ['m-4', 'm-5']) await house.bury(name)
    expect(await client.redriveDeadLetters({ limit: 2, ratePerSecond: 10 })).toMatchObject({ matched: 2, redriven: 2 })
    expect(await client.listDeadLetters()).toMatchObject([{ messageId: 'm-5' }])
  })

  test('no faster than the rate', async () => {
    const house = new Cemetery()
    for (let i = 0; i < 12; i += 1) await house.bury(`m-${i}`)
    const started = performance.now()
    const batches: number[] = []
    const onProgress = ({ letters }: RedriveProgress) => void batches.push(letters.length)
    await house.client().redriveDeadLetters({ ratePerSecond: 20, onProgress })
    // Twelve at twenty a second; timers may be a little early.
    expect(performance.now() - started).toBeGreaterThan(500)
    // Nor does it come as one burst.
    expect(batches).toEqual([2, 2, 2, 2, 2, 2])
    expect(await house.waiting()).toBe(12)
  })

  test('an error of the caller’s callback ends it, and what was not redriven is still there', async () => {
    const house = new Cemetery()
    for (let i = 0; i < 8; i += 1) await house.bury(`m-${i}`)
    const onProgress = () => {
      throw new Error('enough')
    }
    await expect(house.client().redriveDeadLetters({ ratePerSecond: 1, onProgress })).rejects.toThrow('enough')
    expect((await house.left()) + (await house.waiting())).toBe(8)
    expect(await house.left()).toBeGreaterThan(4)
  })

  test('a callback that answers a promise is waited for, and its rejection ends it', async () => {
    const unhandled = unhandledRejections()
    const house = new Cemetery()
    for (let i = 0; i < 4; i += 1) await house.bury(`m-${i}`)
    const client = house.client()
    const onProgress = async () => {
      await pause(10)
      throw new Error('enough')
    }
    await expect(client.redriveDeadLetters({ ratePerSecond: 10, onProgress })).rejects.toThrow('enough')
    await expect(client.dropDeadLetters({ dryRun: true, onProgress })).rejects.toThrow('enough')
    expect((await house.left()) + (await house.waiting())).toBe(4)
    expect(await house.left()).toBeGreaterThan(0)
    expect(unhandled).toEqual([])
    const said: number[] = []
    await client.dropDeadLetters({ onProgress: ({ dropped }) => pause(10).then(() => void said.push(dropped)) })
    expect(said).toHaveLength(1)
  })
})

describe('dropping', () => {
  test('takes away what is meant, and says so; a dry run only says', async () => {
    const house = new Cemetery()
    for (const name of ['m-1', 'm-2', 'm-3']) await house.bury(name)
    const client = house.client()
    expect(await client.dropDeadLetters({ messageId: 'm-2', dryRun: true })).toEqual({ matched: 1, dropped: 1 })
    expect(await house.left()).toBe(3)
    const seen: unknown[] = []
    const dropped = await client.dropDeadLetters({ messageId: 'm-2', onProgress: (step) => void seen.push(step) })
    expect(dropped).toEqual({ matched: 1, dropped: 1 })
    expect(seen).toMatchObject([{ matched: 1, dropped: 1, letters: [{ messageId: 'm-2', reason: 'failed' }] }])
    expect((await client.listDeadLetters()).map(({ messageId }) => messageId)).toEqual(['m-3', 'm-1'])
    expect(await client.dropDeadLetters({ limit: 1 })).toEqual({ matched: 1, dropped: 1 })
    const both = await Promise.all([client.dropDeadLetters(), house.client().dropDeadLetters()])
    expect(both.reduce((sum, result) => sum + result.dropped, 0)).toBe(1)
    expect([await house.left(), await house.fence('m-1')]).toEqual([0, 'F:1:1-0:w'])
  })
})

test.each([
  ['redriven', (client: GatewayClient) => client.redriveDeadLetters()],
  ['dropped', (client: GatewayClient) => client.dropDeadLetters()],
] as const)('what was %s counts, also where the answer to it was lost', { timeout: 40_000 }, async (count, sweep) => {
  const house = new Cemetery()
  for (const name of ['m-0', 'm-1', 'm-2']) await house.bury(name)
  // The server knows the script, so that it is carried out before its answer is lost.
  await house.client().dropDeadLetters({ messageId: 'm-0' })
  const proxy = await TcpProxy.start(Number(new URL(house.url).port))
  onTestFinished(() => proxy.stop())
  const { script } = RedisClient.prototype
  const spy = vi.spyOn(RedisClient.prototype, 'script')
  onTestFinished(() => spy.mockRestore())
  spy.mockImplementation(function (this: RedisClient, ...call) {
    if (call[0] === 'discard') proxy.blackHole(() => true, 'down')
    return Reflect.apply(script, this, call)
  })
  expect(await sweep(house.client({ redis: proxy.url }))).toMatchObject({ matched: 2, [count]: 2 })
  expect(await house.left()).toBe(0)
})

describe('looking', () => {
  test('one letter by its id or its message, whole', async () => {
    const house = new Cemetery()
    await house.bury('m-1')
    await house.bury('m-2')
    const client = house.client()
    const letter = await client.showDeadLetter({ messageId: 'm-1' })
    expect(letter).toMatchObject({
      ...{ capability: 'agent', reason: 'failed', sessionId: 's', messageId: 'm-1', data: envelope('m-1', 's') },
      ...{ epoch: 1, history: [{ attempt: 1, message: 'no' }] },
    })
    expect(await client.showDeadLetter({ id: letter?.id ?? '' })).toEqual(letter)
    expect(await client.showDeadLetter({ id: '1-1' })).toBeNull()
    expect(await client.listDeadLetters('agent', { limit: 1 })).toMatchObject([{ messageId: 'm-2' }])
    expect(await client.listDeadLetters({ capability: 'agent', sessionId: 'nobody' })).toEqual([])
  })

  test.each([
    [{ capability: 'a b' }, 'capability'],
    [{ id: 'x' }, 'id'],
    [{ sessionId: '' }, 'sessionId'],
    [{ messageId: '{}' }, 'messageId'],
    [{ since: 1.5 }, 'since'],
    [{ until: -1 }, 'until'],
    [{ limit: 0 }, 'limit'],
    [{ ratePerSecond: 0 }, 'ratePerSecond'],
    [{ session: 's' }, 'session'],
  ])('%j is refused by name', async (options, field) => {
    const client = new House().client()
    await expect(client.redriveDeadLetters(options as RedriveOptions)).rejects.toMatchObject({
      ...{ code: 'GW_INVALID_ARGUMENT', details: { field } },
    })
  })

  test('a closed client does nothing', async () => {
    const client = new House().client()
    await client.close()
    for (const call of [
      client.showDeadLetter({}),
      client.redriveDeadLetters(),
      client.dropDeadLetters(),
      client.listDeadLetters(),
    ]) {
      await expect(call).rejects.toMatchObject({ code: 'GW_CLOSED' })
    }
  })
})
