import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { PRIORITIES, type Priority } from '../../src/redis/keys.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { envelope, Gate, House } from './harness.ts'

const GROUP = 'agent_engines'
const send = { targetAgentType: 'agent', sessionId: 's' }
const names = (count: number) => Array.from({ length: count }, (_, index) => `agent_${index}`)

/** Entries in all lanes, waiting and pending. */
async function inLanes(house: House, capability = 'agent'): Promise<[length: number, pending: number]> {
  const lanes = await Promise.all(
    PRIORITIES.map(async (priority) => {
      const key = house.keys.control(capability, priority)
      const [pending] = (await house.redis.xpending(key, GROUP)) as [number]
      return [await house.redis.xlen(key), pending] as const
    }),
  )
  return [lanes.reduce((sum, [length]) => sum + length, 0), lanes.reduce((sum, [, pending]) => sum + pending, 0)]
}
const settled = (house: House, capability?: string) =>
  waitFor(async () => (await inLanes(house, capability)).every((count) => count === 0), {
    message: 'the lanes to be settled',
  })

/** Commands that the server has carried out, those inside scripts included. */
async function commands(house: House): Promise<number> {
  const stats = await house.redis.info('commandstats')
  return [...stats.matchAll(/calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0)
}

describe('a backlog', () => {
  test('with one slot: three high tasks, a normal one, three high, a low one; each lane in its order', async () => {
    const house = new House()
    const client = house.client()
    for (const priority of ['low', 'normal', 'high'] as const) {
      for (let index = 0; index < 12; index += 1)
        await client.sendMessage({ ...send, priority, content: `${priority} ${index}` })
    }
    const ran: string[] = []
    const handle = async (command: { content: unknown }) => {
      ran.push(String(command.content))
      await pause(20) // shorter ones are taken ahead, several by a read
    }
    await house.work(handle, { maxConcurrency: 1 })
    await settled(house)
    const lane = (content: string | undefined) => content?.split(' ')[0]
    const eight = ['high', 'high', 'high', 'normal', 'high', 'high', 'high', 'low']
    expect(ran.slice(0, 16).map(lane)).toEqual([...eight, ...eight])
    for (const priority of PRIORITIES) {
      const own = ran.filter((content) => lane(content) === priority)
      expect(own).toEqual(Array.from({ length: 12 }, (_, index) => `${priority} ${index}`))
    }
    // Without high tasks the normal ones go before the low ones, but for the turn of these.
    const rest = ran.slice(16).map(lane)
    expect(rest.filter((one) => one === 'high')).toEqual([])
    expect(rest.slice(0, 10).filter((one) => one === 'low').length).toBeLessThanOrEqual(2)
  })

  test('of normal tasks is overtaken by a high one that comes later', async () => {
    const house = new House()
    const client = house.client()
    for (let index = 0; index < 30; index += 1) await client.sendMessage({ ...send, content: 'normal' })
    const ran: unknown[] = []
    const gates = Array.from({ length: 31 }, () => new Gate())
    onTestFinished(() => gates.forEach((gate) => void gate.open()))
    await house.work(
      async (command) => {
        ran.push(command.content)
        await gates[ran.length - 1]?.pass()
      },
      { maxConcurrency: 1 },
    )
    await gates[0]?.reached(1)
    await client.sendMessage({ ...send, priority: 'high', content: 'high' })
    gates[0]?.open()
    gates[1]?.open()
    await gates[2]?.reached(1)
    // At the very next read, or at the one after it if that was the turn of the normal lane.
    expect(ran.slice(0, 3)).toContain('high')
  })
})

test.each(['normal', 'low'] as const)(
  '%s tasks get their eighth of the starts under a flood of high ones',
  async (lane) => {
    const house = new House()
    const client = house.client()
    const fill = (priority: Priority, count: number) =>
      Promise.all(Array.from({ length: count }, () => client.sendMessage({ ...send, priority, content: priority })))
    await fill('high', 300)
    await fill(lane, 20)
    const ran: unknown[] = []
    await house.work(
      async (command) => {
        ran.push(command.content)
        await pause(1)
      },
      { maxConcurrency: 4 },
    )
    await waitFor(() => ran.length >= 160, { timeoutMs: 15_000 })
    // Of the first 160 that were taken 160 / 8, of which some may be among the four in flight.
    expect(ran.slice(0, 164).filter((content) => content === lane).length).toBeGreaterThanOrEqual(17)
    await waitFor(() => ran.length === 320, { timeoutMs: 15_000 })
    await settled(house)
  },
)

describe('a worker with fewer slots than streams', () => {
  test.each([
    { slots: 1, capabilities: 1 },
    { slots: 2, capabilities: 1 },
    { slots: 1, capabilities: 20 },
    { slots: 2, capabilities: 20 },
    { slots: 50, capabilities: 20 },
  ])(
    '$slots slots, $capabilities capabilities: takes from every lane at once, and does not spin',
    async ({ slots, capabilities }) => {
      const house = await House.private()
      const all = names(capabilities)
      await house.work((command) => command.content, { capabilities: all, maxConcurrency: slots })
      const client = house.client()
      await client.ask({ ...send, targetAgentType: 'agent_0', content: 'warm' })
      const times: number[] = []
      for (const targetAgentType of all) {
        for (const priority of PRIORITIES) {
          const before = performance.now()
          const { data } = await client.ask({ ...send, targetAgentType, priority, content: priority })
          times.push(performance.now() - before)
          expect(data).toBe(priority)
        }
      }
      // A wait for the end of a blocking read would be 5,000 ms, a poll hundreds.
      const median = times.sort((a, b) => a - b)[Math.floor(times.length / 2)]
      expect(median).toBeLessThan(100)
      const before = await commands(house)
      await pause(1_000)
      // Walks after orphans, heartbeats, the agenda; a spinning loop would be thousands.
      expect((await commands(house)) - before).toBeLessThan(80 + 5 * 3 * capabilities)
    },
  )

  test.each([
    { slots: 1, capabilities: 1 },
    { slots: 2, capabilities: 3 },
    { slots: 7, capabilities: 2 },
  ])(
    '$slots slots, $capabilities capabilities: never has more in flight than slots, in all lanes together',
    async ({ slots, capabilities }) => {
      const house = new House()
      const all = names(capabilities)
      const keys = all.flatMap((name) => PRIORITIES.map((priority) => house.keys.control(name, priority)))
      let inside = 0
      let most = 0
      let ran = 0
      await house.work(
        async () => {
          inside += 1
          most = Math.max(most, inside)
          // Not so short that tasks are taken ahead.
          await pause(4 + Math.random() * 4)
          inside -= 1
          ran += 1
        },
        { capabilities: all, maxConcurrency: slots },
      )
      // One script, so that the look is at one moment: what is pending without being a task that ended (its ack may be
      // under way, one for each slot).
      const look = `local sum = 0
      for i = 1, #KEYS do sum = sum + redis.call('XPENDING', KEYS[i], '${GROUP}')[1] end
      return sum`
      let mostPending = 0
      let looking = true
      const looks = (async () => {
        while (looking)
          mostPending = Math.max(mostPending, (await house.redis.eval(look, keys.length, ...keys)) as number)
      })()
      const client = house.client()
      // Until a lane has been used the worker does not count on it.
      for (const targetAgentType of all) {
        for (const priority of PRIORITIES) await client.ask({ targetAgentType, priority, sessionId: 's', content: 'x' })
      }
      mostPending = 0
      ran = 0
      for (let wave = 0; wave < 6; wave += 1) {
        await Promise.all(
          Array.from({ length: 24 }, (_, index) =>
            client.sendMessage({
              ...{ sessionId: `s-${index % 5}`, content: 'x' },
              targetAgentType: all[index % capabilities] as string,
              priority: PRIORITIES[Math.floor(index / capabilities) % 3] as Priority,
            }),
          ),
        )
        await pause(Math.random() * 20)
      }
      await waitFor(() => ran === 144, { message: () => `144 tasks, there are ${ran}`, timeoutMs: 15_000 })
      looking = false
      await looks
      expect(most).toBeLessThanOrEqual(slots)
      expect(mostPending).toBeLessThanOrEqual(2 * slots)
      for (const name of all) await settled(house, name)
      // What is taken without a free slot would be put back under a new id.
      const added = await Promise.all(keys.map((key) => house.redis.xinfo('STREAM', key) as Promise<unknown[]>))
      expect(added.reduce<number>((sum, info) => sum + Number(info[info.indexOf('entries-added') + 1]), 0)).toBe(
        144 + keys.length,
      )
    },
  )
})

describe.concurrent.each(['high', 'low'] as const)('the %s lane is served in every respect', (priority) => {
  test('a dead worker’s task is taken over', async () => {
    const house = new House()
    const key = house.keys.control('agent', priority)
    await house.redis.xgroup('CREATE', key, GROUP, '0', 'MKSTREAM')
    const id = (await house.redis.xadd(key, '*', 'data', envelope('m', 's'))) as string
    await house.redis.xreadgroup('GROUP', GROUP, 'dead', 'STREAMS', key, '>')
    await house.redis.xclaim(key, GROUP, 'dead', 0, id, 'IDLE', 60_000, 'JUSTID')
    await house.work(() => 'taken over')
    expect(await house.client().result({ sessionId: 's', messageId: 'm', timeoutMs: 10_000 })).toMatchObject({
      data: 'taken over',
    })
    await settled(house)
  })

  test('a long task keeps its lease', async () => {
    const house = new House()
    const client = house.client()
    let ran = 0
    const handle = async () => {
      ran += 1
      await pause(3_000)
      return ran
    }
    await house.work(handle, { leaseMs: 1_000 })
    await house.work(handle, { leaseMs: 1_000 })
    expect(await client.ask({ ...send, priority, content: 'x' })).toMatchObject({ data: 1, attempts: 1 })
    await settled(house)
    expect(ran).toBe(1)
  })

  test('what does not finish is handed over at a stop, in its lane', async () => {
    const house = new House()
    const client = house.client()
    const started = new Gate()
    started.open()
    const worker = await house.work(
      async (_command, { signal }) => {
        await started.pass()
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      },
      { shutdownTimeoutMs: 50, leaseMs: 60_000 },
    )
    const { messageId } = await client.sendMessage({ ...send, priority, content: 'x' })
    await started.reached(1)
    await worker.stop()
    expect(await house.redis.xlen(house.keys.control('agent', priority))).toBe(1)
    await house.work(() => 'second', { leaseMs: 60_000 })
    // Only a handover can be that quick: the lease would take a minute to run out.
    const result = await client.result({ sessionId: 's', messageId, timeoutMs: 15_000 })
    expect(result).toMatchObject({ data: 'second', status: 'COMPLETED' })
  })

  test('a worker that leaves takes its consumer with it', async () => {
    const house = new House()
    const client = house.client()
    const worker = await house.work(() => 'fine', { workerId: 'w' })
    await client.ask({ ...send, priority, content: 'x' })
    const key = house.keys.control('agent', priority)
    expect(await house.redis.xinfo('CONSUMERS', key, GROUP)).toHaveLength(1)
    await worker.stop()
    expect(await house.redis.xinfo('CONSUMERS', key, GROUP)).toEqual([])
  })

  test('when its group is gone it is made again, also beside another lane that is busy', async () => {
    const house = new House()
    const client = house.client()
    let ran = 0
    await house.work(
      async (command) => {
        if (command.content === 'x') ran += 1
        await pause(2)
      },
      { maxConcurrency: 2 },
    )
    let flooding = true
    const flood = (async () => {
      while (flooding) {
        await Promise.all(Array.from({ length: 20 }, () => client.sendMessage({ ...send, content: 'flood' })))
        await waitFor(async () => (await house.waiting()) < 10)
      }
    })()
    onTestFinished(() => {
      flooding = false
    })
    await house.redis.del(house.keys.control('agent', priority))
    await client.sendMessage({ ...send, priority, content: 'x' })
    await waitFor(() => ran === 1, { timeoutMs: 10_000, message: 'the task of the lane whose group was gone' })
    flooding = false
    await flood
    await settled(house)
  })
})
