// Workers that call each other, each in a process of its own, beside the bare round trip that such a call stands on.

import { Redis } from 'ioredis'
import { serveParent, withResolvers } from './child.mjs'
import { nowMs } from './clock.mjs'
import { importSdk } from './sdk.mjs'

const { createLogger, GatewayWorker, runWorker } = await importSdk()

const GROUP = 'bench'
const BLOCK_MS = 1_000
const WAITING = 'waiting'

let worker
let bare
let echoing
const results = new Map()
/** Waiting tasks that went on, by when. */
const resumed = []

const connect = (port) => new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null })

/**
 * Bare round trips, so many at once: entries for a worker's stream, read there by a blocking read of its group, and answers
 * back. Answers how long each took.
 */
const bareTrips = async (width) => {
  const begin = performance.now()
  const samples = []
  const asking = addAll(bare.commands, 'bare:ask', width)
  while (samples.length < width) {
    const reply = await bare.blocked.xread('COUNT', 100, 'BLOCK', BLOCK_MS, 'STREAMS', 'bare:answer', bare.last)
    const answers = reply?.[0][1] ?? []
    const took = performance.now() - begin
    for (const _ of answers) samples.push(took)
    bare.last = answers.at(-1)?.[0] ?? bare.last
  }
  await asking
  return samples
}

/** Many go in one write, as they would in a program that cares. */
const addAll = (redis, key, count) => {
  if (count === 1) return redis.xadd(key, '*', 'data', '{"bare":1}')
  const pipeline = redis.pipeline()
  for (let number = 0; number < count; number += 1) pipeline.xadd(key, '*', 'data', '{"bare":1}')
  return pipeline.exec()
}

const echo = async (port) => {
  const commands = connect(port)
  const blocked = connect(port)
  await commands.xgroup('CREATE', 'bare:ask', GROUP, '0', 'MKSTREAM')
  const loop = async () => {
    for (;;) {
      const read = ['GROUP', GROUP, 'w', 'COUNT', 100, 'BLOCK', BLOCK_MS, 'STREAMS', 'bare:ask', '>']
      const reply = await blocked.xreadgroup(...read)
      if (reply !== null) await addAll(commands, 'bare:answer', reply[0][1].length)
    }
  }
  loop().catch(() => undefined) // it ends with its connection
  return {
    close: () => {
      for (const each of [commands, blocked]) each.disconnect()
    },
  }
}

const timed = async (samples, work) => {
  const begin = performance.now()
  await work()
  samples.push(performance.now() - begin)
}

/** What the caller does; the content of its message says it. */
const acts = {
  /** Calls and bare round trips in turn; as many of these in a row as a call makes hops. */
  pairs: async (context, { warm, count, target, hops }) => {
    const calls = []
    const trips = []
    const call = () => context.callAgent({ targetAgentType: target, content: 'x' })
    for (let turn = 0; turn < warm + count; turn += 1) {
      if (turn === warm) for (const samples of [calls, trips]) samples.length = 0
      await timed(calls, call)
      await timed(trips, async () => {
        for (let hop = 0; hop < hops; hop += 1) await bareTrips(1)
      })
    }
    return { calls, trips }
  },
  /** So many calls at once, then as many bare round trips, again and again. */
  crowd: async (context, { warm, count, target, width }) => {
    const calls = []
    const trips = []
    for (let turn = 0; turn < warm + count; turn += width) {
      if (turn === warm) for (const samples of [calls, trips]) samples.length = 0
      const call = () => timed(calls, () => context.callAgent({ targetAgentType: target, content: 'x' }))
      await Promise.all(Array.from({ length: width }, call))
      trips.push(...(await bareTrips(width)))
    }
    return { calls, trips }
  },
}

class Caller extends GatewayWorker {
  getCapabilities() {
    return ['caller']
  }

  async processCommand(command, context) {
    const { act, key, ...options } = JSON.parse(command.content)
    results.get(key).resolve(await acts[act](context, options))
  }
}

class Callee extends GatewayWorker {
  getCapabilities() {
    return ['callee']
  }

  processCommand() {
    return { ok: 1 }
  }
}

/** Each hop calls the next. */
class Hops extends Callee {
  getCapabilities() {
    return [...super.getCapabilities(), ...Array.from({ length: 4 }, (_, hop) => `hop-${hop}`)]
  }

  async processCommand(_command, context) {
    const hop = /^hop-(\d)$/.exec(context.agentType)?.[1]
    if (hop === undefined) return super.processCommand()
    const target = hop === '0' ? 'callee' : `hop-${Number(hop) - 1}`
    return (await context.callAgent({ targetAgentType: target, content: 'x' })).data
  }
}

/** Asks once, and notes when it went on. */
class Waiter extends GatewayWorker {
  getCapabilities() {
    return [WAITING]
  }

  async processCommand(_command, context) {
    await context.askUser('go on?')
    resumed.push({ id: context.messageId, at: nowMs() })
    return { ok: 1 }
  }
}

const AGENTS = { caller: Caller, callee: Callee, hops: Hops, waiter: Waiter }

serveParent({
  start: async ({ port, role, options = {} }) => {
    if (role === 'callee' || role === 'hops') echoing = await echo(port)
    if (role === 'caller') bare = { commands: connect(port), blocked: connect(port), last: '0-0' }
    worker = await runWorker({
      ...{
        worker: new AGENTS[role](),
        redis: `redis://127.0.0.1:${port}/0`,
        workerId: role,
        logger: createLogger('warn'),
      },
      ...options,
    })
  },
  expect: ({ key }) => void results.set(key, withResolvers()),
  result: ({ key }) => results.get(key).promise,
  resumed: () => resumed.splice(0),
  memory: () => {
    for (let pass = 0; pass < 3; pass += 1) globalThis.gc?.()
    return process.memoryUsage().heapUsed
  },
  stop: async () => {
    await worker.stop()
    echoing?.close()
    if (bare !== undefined) for (const each of [bare.commands, bare.blocked]) each.disconnect()
  },
})
