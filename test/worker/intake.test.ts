import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { PRIORITIES } from '../../src/redis/keys.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { type SeenCommand, seenCommands } from '../support/seen-commands.ts'
import { envelope, Gate, House } from './harness.ts'

const names = (count: number) => Array.from({ length: count }, (_, index) => `agent_${index}`)

/** The reads that a server carries out for groups. */
const reads = (house: House) => seenCommands(house.url, 'xreadgroup')

const has = ({ args }: SeenCommand, word: string) => args.some((arg) => arg.toUpperCase() === word)

describe('an idle worker', () => {
  test('waits with one blocking read over all its capabilities, and takes from each at once', async () => {
    const house = await House.private()
    const capabilities = names(20)
    const seen = await reads(house)
    // As many slots as streams: three lanes of each.
    await house.work((command) => command.content, { capabilities, maxConcurrency: 60 })
    await waitFor(() => seen.some((read) => has(read, 'BLOCK')), { message: 'a blocking read' })
    await pause(200)
    const blocking = seen.filter((read) => has(read, 'BLOCK'))
    expect(blocking).toHaveLength(1)
    expect(seen.at(-1)).toBe(blocking[0])
    const lanes = PRIORITIES.flatMap((priority) => capabilities.map((name) => house.keys.control(name, priority)))
    expect(blocking[0]?.args.slice(blocking[0].args.indexOf('STREAMS') + 1)).toEqual([
      ...lanes,
      ...lanes.map(() => '>'),
    ])
    const client = house.client()
    const before = performance.now()
    for (const [index, targetAgentType] of capabilities.entries()) {
      const result = await client.ask({ targetAgentType, sessionId: 's', content: `hi ${index}` })
      expect(result.data).toBe(`hi ${index}`)
    }
    // Polling one capability after the other would take seconds.
    expect(performance.now() - before).toBeLessThan(3_000)
  })

  test('does not spin: hardly a command goes to Redis while there is nothing to do', async () => {
    const house = await House.private()
    const seen = await reads(house)
    await house.work(() => null, { capabilities: names(5) })
    await waitFor(() => seen.some((read) => has(read, 'BLOCK')), { message: 'a blocking read' })
    const before = seen.length
    await pause(500)
    expect(seen.length - before).toBeLessThan(5)
  })

  test.each(['high', 'normal', 'low'] as const)(
    'with more capabilities than slots asks those alone that have something: %s tasks',
    async (priority) => {
      const house = await House.private()
      await house.work((command) => command.content, { capabilities: names(20), maxConcurrency: 5 })
      const client = house.client()
      const ask = (index: number) =>
        client.ask({ targetAgentType: `agent_${index % 20}`, sessionId: 's', content: `${index}`, priority })
      await ask(0)
      const calls = async () => {
        const stats = await house.redis.info('commandstats')
        return Number(/cmdstat_xreadgroup:calls=(\d+)/.exec(stats)?.[1])
      }
      const before = await calls()
      for (let index = 0; index < 60; index += 1) expect((await ask(index)).data).toBe(`${index}`)
      // A look at all sixty lanes takes a read for each lane of some capabilities; a task needs one.
      expect((await calls()) - before).toBeLessThan(60 * 3)
    },
  )

  test('with more capabilities than slots finds its streams again after a flush', async () => {
    const house = await House.private()
    await house.work((command) => command.content, { capabilities: names(20), maxConcurrency: 5 })
    const client = house.client()
    const ask = (sessionId: string) =>
      client.ask({ targetAgentType: 'agent_3', sessionId, content: 'hi', timeoutMs: 20_000 })
    expect((await ask('before')).status).toBe('COMPLETED')
    await house.redis.flushall()
    expect((await ask('after')).status).toBe('COMPLETED')
  })

  test('nor does it with more capabilities than slots', async () => {
    const house = await House.private()
    const seen = await reads(house)
    await house.work(() => null, { capabilities: names(20), maxConcurrency: 5 })
    await waitFor(() => seen.length > 0, { message: 'a read' })
    await pause(300)
    const before = seen.length
    await pause(500)
    expect(seen.length - before).toBeLessThan(10)
  })

  test('nor with fewer free slots than capabilities, while the others are busy', async () => {
    const house = await House.private()
    const seen = await reads(house)
    const gate = new Gate()
    onTestFinished(() => gate.open())
    await house.work(() => gate.pass(), { capabilities: names(10), maxConcurrency: 10 })
    const client = house.client()
    for (let i = 0; i < 6; i += 1)
      await client.sendMessage({ targetAgentType: 'agent_0', sessionId: 's', content: 'x' })
    await gate.reached(6)
    await pause(300)
    const before = seen.length
    await pause(500)
    expect(seen.length - before).toBeLessThan(10)
  })

  test('begins a lone task once, however long it has waited for it', async () => {
    const house = await House.private()
    const tokens: number[] = []
    await house.work((_command, context) => tokens.push(context.fencingToken))
    const client = house.client()
    for (let count = 0; count < 3; count += 1) {
      await pause(300)
      await client.ask({ targetAgentType: 'agent', sessionId: 's', content: 'x' })
    }
    expect(tokens).toEqual([1, 1, 1])
  })

  test('asks for no more than fetchCount', async () => {
    const house = await House.private()
    const seen = await reads(house)
    await house.work(() => null, { fetchCount: 3, maxConcurrency: 40 })
    await waitFor(() => seen.some((read) => has(read, 'BLOCK')), { message: 'a blocking read' })
    const { args } = seen.find((read) => has(read, 'BLOCK')) as SeenCommand
    expect(args[args.findIndex((arg) => arg.toUpperCase() === 'COUNT') + 1]).toBe('3')
  })

  test('nor for more than it has slots', async () => {
    const house = await House.private()
    const seen = await reads(house)
    await house.work(() => null, { fetchCount: 30, maxConcurrency: 4 })
    await waitFor(() => seen.some((read) => has(read, 'BLOCK')), { message: 'a blocking read' })
    for (const { args } of seen) {
      expect(Number(args[args.findIndex((arg) => arg.toUpperCase() === 'COUNT') + 1])).toBeLessThanOrEqual(4)
    }
  })
})

describe('a busy worker never has more in flight than its slots, and takes nothing for which it has none', () => {
  test.each([
    { slots: 1, capabilities: 1, fetchCount: 10, tasks: 12 },
    { slots: 4, capabilities: 1, fetchCount: 50, tasks: 30 },
    { slots: 10, capabilities: 3, fetchCount: 10, tasks: 50 },
    { slots: 3, capabilities: 12, fetchCount: 10, tasks: 36 },
    { slots: 1, capabilities: 8, fetchCount: 10, tasks: 24 },
  ])(
    '$slots slots, $capabilities capabilities, fetchCount $fetchCount',
    async ({ slots, capabilities, fetchCount, tasks }) => {
      const house = new House()
      const all = names(capabilities)
      const gates: (() => void)[] = []
      const ran: string[] = []
      let most = 0
      const worker = await house.work(
        async (command) => {
          most = Math.max(most, gates.length + 1)
          await new Promise<void>((resolve) => gates.push(resolve))
          ran.push(String(command.content))
        },
        { capabilities: all, maxConcurrency: slots, fetchCount },
      )
      onTestFinished(() => gates.splice(0).forEach((open) => void open()))
      // One script, so that the look is at one moment.
      const look = `local sum = 0
      for i = 1, #KEYS do sum = sum + redis.call('XPENDING', KEYS[i], 'agent_engines')[1] end
      return sum`
      const keys = all.map((name) => house.keys.control(name))
      let mostPending = 0
      let looking = true
      const looks = (async () => {
        while (looking)
          mostPending = Math.max(mostPending, (await house.redis.eval(look, keys.length, ...keys)) as number)
      })()
      const client = house.client()
      const send = (index: number) =>
        client.sendMessage({
          targetAgentType: all[index % all.length] as string,
          ...{ sessionId: `s-${index % 7}`, messageId: `m-${index}`, content: `${index}` },
        })
      // Into an idle worker, all streams at once; then more of them while all slots are taken.
      await Promise.all(Array.from({ length: tasks / 2 }, (_, index) => send(index)))
      for (let index = tasks / 2; index < tasks; index += 1) await send(index)
      await waitFor(() => gates.length === slots)
      await pause(100)
      expect(worker.running).toBe(slots)
      expect(mostPending).toBe(slots)
      // One by one. An end that is on its way may still be pending when the next task is taken.
      for (let left = tasks; left > 0; left -= 1) {
        await waitFor(() => gates.length === Math.min(slots, left))
        gates.shift()?.()
      }
      await waitFor(() => ran.length === tasks, { message: () => `${tasks} tasks, there are ${ran.length}` })
      await house.settled(...all)
      looking = false
      await looks
      expect(most).toBe(slots)
      expect(mostPending).toBeLessThanOrEqual(slots + 2)
      expect(new Set(ran)).toEqual(new Set(Array.from({ length: tasks }, (_, index) => `${index}`)))
      expect(ran).toHaveLength(tasks)
    },
  )

  test('also when tasks come on many streams at once into a blocking read that just ended', async () => {
    const house = await House.private()
    const all = names(12)
    const gate = new Gate()
    onTestFinished(() => gate.open())
    const seen = await reads(house)
    await house.work(() => gate.pass(), { capabilities: all, maxConcurrency: 36, workerId: 'w' })
    await waitFor(() => seen.some((read) => has(read, 'BLOCK')), { message: 'a blocking read' })
    const client = house.client()
    for (let i = 0; i < 33; i += 1)
      await client.sendMessage({ targetAgentType: 'agent_0', sessionId: 's', content: 'x' })
    await gate.reached(33)
    await pause(50)
    // Three slots are free. All twelve streams have an entry in the very moment in which the next read begins.
    const clients = (await house.redis.client('LIST')) as string
    const blocked = clients.split('\n').find((line) => / flags=\S*b/.test(line))
    const batch = house.redis.multi()
    for (const name of all) batch.xadd(house.keys.control(name), '*', 'data', envelope(`m-${name}`, 's'))
    if (blocked !== undefined) batch.client('UNBLOCK', Number(/^id=(\d+)/.exec(blocked)?.[1]))
    await batch.exec()
    await gate.reached(36)
    gate.open()
    for (const name of all) await client.result({ sessionId: 's', messageId: `m-${name}`, timeoutMs: 5_000 })
    // What is taken without a free slot has to be put back, at the end of its stream: its place in the order is lost.
    const streams = await Promise.all(all.slice(1).map((name) => house.redis.xinfo('STREAM', house.keys.control(name))))
    const added = streams.map((info) => (info as unknown[])[(info as unknown[]).indexOf('entries-added') + 1])
    expect(added).toEqual(Array.from({ length: 11 }, () => 1))
  })
})

test('tasks sent before any worker has ever started are processed', async () => {
  const house = new House()
  const client = house.client()
  const sent = await Promise.all(
    Array.from({ length: 25 }, (_, index) =>
      client.sendMessage({ targetAgentType: 'agent', sessionId: 's', messageId: `m-${index}`, content: `${index}` }),
    ),
  )
  expect(sent.every(({ status }) => status === 'QUEUED')).toBe(true)
  await house.work((command) => `did ${command.content}`)
  for (let index = 0; index < 25; index += 1) {
    const result = await client.result({ sessionId: 's', messageId: `m-${index}`, timeoutMs: 10_000 })
    expect(result).toMatchObject({ status: 'COMPLETED', data: `did ${index}` })
  }
  await house.settled()
})

test('one slot: tasks run in the order in which they were sent', async () => {
  const house = new House()
  const client = house.client()
  const ran: unknown[] = []
  await house.work((command) => ran.push(command.content), { maxConcurrency: 1 })
  for (let index = 0; index < 40; index += 1) {
    await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: `${index}` })
  }
  await waitFor(() => ran.length === 40)
  expect(ran).toEqual(Array.from({ length: 40 }, (_, index) => `${index}`))
})

test('no capability starves while another is flooded', async () => {
  const house = new House()
  const client = house.client()
  const ran: string[] = []
  const flood = Array.from({ length: 400 }, (_, index) =>
    client.sendMessage({ targetAgentType: 'loud', sessionId: 's', content: `${index}` }),
  )
  await Promise.all(flood)
  await client.sendMessage({ targetAgentType: 'quiet', sessionId: 's', content: 'x' })
  await house.work((_command, context) => ran.push(context.agentType), {
    ...{ capabilities: ['loud', 'quiet'], maxConcurrency: 2 },
  })
  await waitFor(() => ran.length === 401, { timeoutMs: 15_000 })
  expect(ran.indexOf('quiet')).toBeLessThan(200)
})

test('two workers share the tasks, and each task runs once', async () => {
  const house = new House()
  const client = house.client()
  const ran: string[] = []
  const by = new Set<string>()
  const handle = async (command: { content: unknown }, context: { workerId: string }) => {
    by.add(context.workerId)
    ran.push(String(command.content))
    await pause(1)
  }
  await house.work(handle, { workerId: 'w-1', maxConcurrency: 3 })
  await house.work(handle, { workerId: 'w-2', maxConcurrency: 3 })
  await Promise.all(
    Array.from({ length: 200 }, (_, index) =>
      client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: `${index}` }),
    ),
  )
  await waitFor(() => ran.length >= 200)
  await house.settled()
  expect(ran).toHaveLength(200)
  expect(new Set(ran).size).toBe(200)
  expect([...by].sort()).toEqual(['w-1', 'w-2'])
})

test('workers with fewer slots than capabilities miss nothing that any of them might have taken', async () => {
  const house = new House()
  const capabilities = names(12)
  const handle = () => pause(Math.random() * 6)
  for (const maxConcurrency of [1, 2, 3, 5]) await house.work(handle, { capabilities, maxConcurrency })
  const client = house.client()
  const waits: number[] = []
  const sender = async (own: number) => {
    for (let index = 0; index < 60; index += 1) {
      const priority = PRIORITIES[(own + index) % 3]
      const targetAgentType = `agent_${(own * 7 + index) % 12}`
      const before = performance.now()
      const { status } = await client.ask({ targetAgentType, sessionId: `s-${own}`, content: 'x', priority })
      waits.push(performance.now() - before)
      expect(status).toBe('COMPLETED')
      await pause(Math.random() * 8)
    }
  }
  await Promise.all(Array.from({ length: 8 }, (_, own) => sender(own)))
  await house.settled(...capabilities)
  // What all of them overlook is found by the next look at all lanes, up to five seconds later.
  expect(Math.max(...waits)).toBeLessThan(3_000)
})

test('an entry goes only after the end of its task is recorded', async () => {
  const house = new House()
  const client = house.client()
  const gate = new Gate()
  await house.work(() => gate.pass())
  const { messageId } = await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: 'x' })
  await gate.reached(1)
  expect([await house.waiting(), await house.pending()]).toEqual([1, 1])
  const watching = client.subscribe('s', { messageId, after: '0' })
  gate.open()
  // Whenever the entry is gone the end must be there: looked at in one script.
  const look = `return {redis.call('XLEN', KEYS[1]), redis.call('HGET', KEYS[2], 'fence')}`
  await waitFor(async () => {
    const [left, fence] = (await house.redis.eval(
      ...[look, 2, house.keys.control('agent'), house.keys.task('s', messageId)],
    )) as [number, string]
    if (left === 0) expect(fence).toMatch(/^C:/)
    return left === 0
  })
  await house.settled()
  expect((await watching.next()).value).toMatchObject({ type: 'done' })
})

test('control streams, groups and pending lists are empty after much work of every kind', async () => {
  const house = new House()
  const client = house.client()
  await house.work((command) => {
    if (String(command.content).endsWith('3')) throw new Error('three')
    return command.content
  })
  const sends = Array.from({ length: 500 }, (_, index) =>
    client.sendMessage({
      targetAgentType: 'agent',
      sessionId: `s-${index % 20}`,
      messageId: `m-${index}`,
      content: `${index}`,
    }),
  )
  await Promise.all(sends)
  for (let index = 0; index < 500; index += 50) await house.add({ data: 'poison' })
  await Promise.all(
    Array.from({ length: 500 }, (_, index) => client.result({ sessionId: `s-${index % 20}`, messageId: `m-${index}` })),
  )
  await house.settled()
  expect([await house.waiting(), await house.pending()]).toEqual([0, 0])
})
