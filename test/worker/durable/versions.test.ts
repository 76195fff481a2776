import { describe, expect, test } from 'vitest'
import type { AgentContext } from '../../../src/agent/context.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { Gate, House, type WorkOptions } from '../harness.ts'

const ref = { sessionId: 's', messageId: 'm' }
const send = { targetAgentType: 'agent', ...ref, content: 'hi' }
const call = { targetAgentType: 'child', content: 'x' }
const lane = 'agent@v1'

/** Says by which worker it was run to its end, after one call. */
const handle = async (_: unknown, context: AgentContext) => {
  const { content } = await context.callAgent(call)
  return `${context.workerId} ${content}`
}
const child = (house: House) => house.work(() => 'y', { capabilities: ['child'], workerId: 'w-child' })
const quick = { suspendAfterMs: 20 }

/** A house in which version v1 has suspended a task and is gone. */
async function left(options: WorkOptions = {}): Promise<{ house: House; client: ReturnType<House['client']> }> {
  const house = new House()
  const client = house.client()
  const old = await house.work(handle, { ...quick, workerId: 'w-1', version: 'v1', ...options })
  await client.sendMessage(send)
  await waitFor(async () => (await client.getTask(ref))?.status === 'WAITING_AGENT')
  await house.settled('agent')
  await old.stop()
  return { house, client }
}

const handedOver = ({ logger }: House) =>
  logger.lines.filter(({ message }) => message.startsWith('the task was begun by another version'))

describe('a suspended task', () => {
  test('is not run by another version: it waits, says so, and goes on where its own version runs', async () => {
    const { house, client } = await left()
    await house.work(handle, { ...quick, workerId: 'w-2', version: 'v2' })
    await child(house)
    await waitFor(async () => (await house.waiting(lane)) === 1)
    await house.settled('agent')
    // Nobody turns it over and over: it lies on a lane that only its own version reads.
    expect(handedOver(house)).toMatchObject([{ fields: { workerId: 'w-2', messageId: 'm', version: 'v1' } }])
    const explanation = await client.explain(ref)
    expect(explanation).toMatchObject({ state: 'queued', version: 'v1', workers: 0 })
    expect(explanation.text).toMatch(/version 'v1'.*No live worker of 'agent' would do/)
    const { findings } = await client.diagnose({ fix: true, intervalMs: 50 })
    expect(findings.filter((finding) => JSON.stringify(finding).includes('"m"'))).toEqual([])
    expect((await client.getTask(ref))?.status).toBe('QUEUED')
    await house.work(handle, { ...quick, workerId: 'w-3', version: 'v1' })
    expect((await client.result(ref)).data).toBe('w-3 y')
    await house.settled('agent', lane)
    // A lane that nobody uses any more expires; one that holds something does not.
    const ttl = (version: string) => house.redis.pttl(house.keys.control('agent', 'normal', version))
    expect(await ttl('v1')).toBe(-1)
    expect(await ttl('v2')).toBeGreaterThan(80_000_000)
    await house.work(handle, { workerId: 'w-4', version: 'v1' })
    expect(await ttl('v1')).toBeGreaterThan(80_000_000)
    expect(await house.dones('s', 'm')).toHaveLength(1)
  })

  test('goes on in a version that declares its own compatible, and is of that version from then on', async () => {
    const { house, client } = await left()
    const second = await house.work(
      async (_, context) => {
        await context.callAgent(call)
        await context.callAgent({ ...call, targetAgentType: 'nobody' })
      },
      { ...quick, workerId: 'w-2', version: 'v2', compatibleVersions: ['v0', 'v1'] },
    )
    await child(house)
    await waitFor(async () => (await client.listTasks({ sessionId: 's' })).length === 3)
    await waitFor(async () => (await client.getTask(ref))?.status === 'WAITING_AGENT')
    await second.stop()
    await house.work(handle, { ...quick, workerId: 'w-1', version: 'v1' })
    await house.work(() => 'z', { capabilities: ['nobody'] })
    await waitFor(async () => (await house.waiting('agent@v2')) === 1)
    expect((await client.explain(ref)).text).toContain("version 'v2'")
    expect((await client.listWorkers()).find(({ workerId }) => workerId === 'w-1')?.agentVersions).toEqual(['v1'])
  })

  test('of one worker stays its own: it waits for that worker to come back with the version', async () => {
    const house = new House()
    const client = house.client()
    const old = await house.work(handle, { ...quick, workerId: 'w-1', version: 'v1' })
    await client.sendMessage({ ...send, targetWorkerId: 'w-1' })
    await waitFor(async () => (await client.getTask(ref))?.status === 'WAITING_AGENT')
    await old.stop()
    const agenda = async () => {
      const keys = await house.redis.keys(`${house.prefix}:delayed:*`)
      const items = keys.map(async (key) => (await house.redis.zrange(key, '0', '-1')).map((id) => ({ key, id })))
      return (await Promise.all(items)).flat()
    }
    const changed = await house.work(handle, { ...quick, workerId: 'w-1', version: 'v2' })
    await house.work(handle, { ...quick, workerId: 'w-2', version: 'v1' })
    await child(house)
    await waitFor(() => handedOver(house).length === 1)
    await waitFor(async () => (await client.explain(ref)).state === 'held-back')
    const explanation = await client.explain(ref)
    expect(explanation).toMatchObject({ state: 'held-back', status: 'QUEUED', version: 'v1' })
    expect(explanation.text).toContain("for one worker only, and version 'v1' ran it last")
    const { findings } = await client.diagnose({ fix: true, intervalMs: 50 })
    expect(findings.filter((finding) => JSON.stringify(finding).includes('"m"'))).toEqual([])
    await changed.stop()
    // Its time comes now rather than in half a minute.
    for (const { key, id } of await agenda()) await house.redis.zadd(key, 'XX', 0, id)
    await house.work(handle, { ...quick, workerId: 'w-1', version: 'v1' })
    expect((await client.result(ref)).data).toBe('w-1 y')
    expect(await house.dones('s', 'm')).toHaveLength(1)
  })

  test('of a version is not run by a worker without one, and can be cancelled', async () => {
    const { house, client } = await left()
    await house.work(handle, { ...quick, workerId: 'w-2' })
    await child(house)
    await waitFor(async () => (await house.waiting(lane)) === 1)
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    await house.work(handle, { ...quick, workerId: 'w-3', version: 'v1' })
    await house.settled('agent', lane)
    expect((await client.result(ref)).status).toBe('CANCELLED')
  })

  test('of a version that nobody runs leaves nothing when it is cancelled', async () => {
    const { house, client } = await left()
    await house.work(handle, { ...quick, workerId: 'w-2', version: 'v2' })
    await child(house)
    await waitFor(async () => (await house.waiting(lane)) === 1)
    await house.settled('agent')
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    expect(await house.waiting(lane)).toBe(0)
    expect(await house.redis.pttl(house.keys.task('s', 'm'))).toBeGreaterThan(0)
    expect(await house.dones('s', 'm')).toHaveLength(1)
  })

  test('of a worker without a version is run by any', async () => {
    const { house, client } = await left({ version: undefined })
    await house.work(handle, { ...quick, workerId: 'w-2', version: 'v2' })
    await child(house)
    expect((await client.result(ref)).data).toBe('w-2 y')
    expect(handedOver(house)).toEqual([])
  })
})

describe('a task whose worker was lost', () => {
  /** A house in which version v1 was stopped in the middle of a task, after `before`. */
  async function interrupted(before: (context: AgentContext) => Promise<unknown>) {
    const house = new House()
    const client = house.client()
    const gate = new Gate()
    const old = await house.work(
      async (_, context) => {
        await before(context)
        await gate.pass()
      },
      { workerId: 'w-1', version: 'v1' },
    )
    await client.sendMessage(send)
    await gate.reached(1)
    await old.stop()
    gate.open()
    return { house, client }
  }

  test('goes on only in its version, if it has recorded something', async () => {
    const { house, client } = await interrupted((context) => context.step('once', () => 1))
    await house.work(() => 'no', { workerId: 'w-2', version: 'v2' })
    await waitFor(async () => (await house.waiting(lane)) === 1)
    await house.settled('agent')
    expect((await client.explain(ref)).state).toBe('queued')
    const gate = new Gate()
    const again = async (_: unknown, context: AgentContext) => {
      await gate.pass()
      return context.step('once', () => 2)
    }
    await house.work(again, { workerId: 'w-3', version: 'v1' })
    await gate.reached(1)
    // Its entry lies on the lane of its version, where the operator's tools find it.
    expect((await client.explain(ref)).state).toBe('running')
    const { findings } = await client.diagnose({ fix: true, intervalMs: 50 })
    expect(findings.filter((finding) => JSON.stringify(finding).includes('"m"'))).toEqual([])
    gate.open()
    expect((await client.result(ref)).data).toBe(1)
    await house.settled('agent', lane)
  })

  test('runs in any version, if it has not', async () => {
    const { house, client } = await interrupted((context) => context.emitChunk('x'))
    await house.work(() => 'yes', { workerId: 'w-2', version: 'v2' })
    expect((await client.result(ref)).data).toBe('yes')
  })

  test('too often is given up by whatever version finds it', async () => {
    const { house, client } = await interrupted((context) => context.step('once', () => 1))
    const entryId = ((await house.redis.hget(house.keys.task('s', 'm'), 'fence')) ?? '').split(':')[2] ?? ''
    const claim = [house.keys.control('agent'), 'agent_engines', 'w-dead', 0, entryId, 'IDLE', 60_000] as const
    await house.redis.call('XCLAIM', ...claim, 'RETRYCOUNT', 9)
    await house.work(() => 'no', { workerId: 'w-2', version: 'v2' })
    expect(await client.result(ref)).toMatchObject({ status: 'FAILED', error: { code: 'GW_POISON' } })
    await house.settled('agent')
    expect(handedOver(house)).toEqual([])
  })

  test('is handed over again when the first who did so died before he told', async () => {
    const { house, client } = await interrupted((context) => context.step('once', () => 1))
    // Begun, refused and put back into waiting by a worker of another version, which then died.
    const record = house.keys.task('s', 'm')
    const [, epoch, entryId] = ((await house.redis.hget(record, 'fence')) ?? '').split(':')
    await house.redis.hset(record, 'fence', `Q:${epoch}:${entryId}:`)
    await house.work(() => 'no', { workerId: 'w-2', version: 'v2' })
    await waitFor(async () => (await house.waiting(lane)) === 1)
    await house.settled('agent')
    await house.work((_, context) => context.step('once', () => 2), { workerId: 'w-3', version: 'v1' })
    expect((await client.result(ref)).data).toBe(1)
  })
})

test('versions are checked', async () => {
  const house = new House()
  await expect(house.work(handle, { version: 'v 1' })).rejects.toThrow(/version is invalid.*letters/)
  await expect(house.work(handle, { compatibleVersions: ['v1'] })).rejects.toThrow(/compatibleVersions and version/)
})

describe('patched', () => {
  /** Runs a task by the old code until it waits for its second call, then by the new code to its end. */
  async function changed(change: (context: AgentContext, ask: (text: string) => Promise<string>) => Promise<unknown>) {
    const house = new House()
    const client = house.client()
    const ask = async (context: AgentContext, text: string) =>
      (await context.callAgent({ targetAgentType: text, content: text })).content
    const old = await house.work(async (_, context) => [await ask(context, 'first'), await ask(context, 'second')], {
      ...quick,
      workerId: 'w-1',
    })
    await house.work(() => '1', { capabilities: ['first'] })
    await client.sendMessage(send)
    const isWaiting = async () => (await client.getTask(ref))?.status === 'WAITING_AGENT'
    await waitFor(async () => (await client.listTasks({ sessionId: 's' })).length === 3 && (await isWaiting()))
    await old.stop()
    await house.work((_, context) => change(context, (text) => ask(context, text)), { ...quick, workerId: 'w-2' })
    await house.work(() => '2', { capabilities: ['second'] })
    await house.work(() => 'new', { capabilities: ['third'] })
    const { data } = await client.result(ref)
    const fresh = await client.ask({ ...send, messageId: 'm-2' })
    return { house, data, fresh: fresh.data }
  }

  test('is false for a task that came by without the change, true for one that comes there now', async () => {
    const { data, fresh } = await changed(async (context, ask) => {
      const first = (await context.patched('first-is-third')) ? await ask('third') : await ask('first')
      return [first, await ask('second'), await context.patched('first-is-third')]
    })
    expect(data).toEqual(['1', '2', false])
    expect(fresh).toEqual(['new', '2', true])
  })

  test('is true for a task that has not come so far; what was decided once stays', async () => {
    const seen: string[] = []
    const { data, fresh } = await changed(async (context, ask) => {
      const said = [await ask('first'), await ask('second')]
      const [one, two] = await Promise.all([context.patched('end'), context.patched('end')])
      seen.push(`${context.messageId} ${one} ${two}`)
      if (one) said.push(await context.step('end', () => 'end'))
      // Suspended, and run again.
      await context.sleep(500)
      return said
    })
    expect([data, fresh]).toEqual([
      ['1', '2', 'end'],
      ['1', '2', 'end'],
    ])
    expect(new Set(seen)).toEqual(new Set(['m true true', 'm-2 true true']))
    expect(seen.length).toBeGreaterThan(2)
  })

  test('refuses what cannot be an id', async () => {
    const house = new House()
    await house.work((_, context) => context.patched(''))
    expect((await house.client().ask(send)).error?.message).toMatch(/the id of a patch is invalid/)
  })
})
