import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { withResolvers } from '../lib/child.mjs'
import { speak } from '../lib/chunks.mjs'
import { nowMs } from '../lib/clock.mjs'
import { indexOf } from '../lib/payload.mjs'

const GROUP = 'group'
const OUT = 'out'
const BULK = 500
const BLOCK_MS = 250

const connect = (port, options) => new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null, ...options })

const openProducer = async ({ port, queue }) => {
  const redis = connect(port)
  return {
    send: (_index, payload) => redis.xadd(queue, '*', 'data', payload),
    sendMany: async (from, to, payloadOf) => {
      for (let begin = from; begin < to; begin += BULK) {
        const pipeline = redis.pipeline()
        for (let index = begin; index < Math.min(to, begin + BULK); index++)
          pipeline.xadd(queue, '*', 'data', payloadOf(index))
        await pipeline.exec()
      }
    },
    close: () => redis.quit(),
  }
}

/** The task's own stream, which its reader reads. */
const outOf = (session) => `${OUT}:${session}`
const ONE_READ = 1_000
const PAUSE_MS = 3

const say = async (commands, speech, session) => {
  await speak(speech, (text) => commands.xadd(outOf(session), '*', 'chunk', text))
  await commands.xadd(outOf(session), '*', 'done', '')
}

const newIds = (queues) => queues.map(() => '>')

// While there is work: [XACK, XDEL of the last batch + the next read] in one write. When there is none: one blocking read over all
// streams on a connection of its own.
const startWorker = async ({ port, name, queues, concurrency, chunk, speech, onStart, onEnd }) => {
  const commands = connect(port, { enableAutoPipelining: speech !== undefined })
  const blocking = connect(port)
  for (const queue of queues) {
    await commands.xgroup('CREATE', queue, GROUP, '0', 'MKSTREAM').catch((error) => {
      if (!error.message.startsWith('BUSYGROUP')) throw error
    })
  }
  const read = ['GROUP', GROUP, name, 'COUNT', concurrency]
  const streams = ['STREAMS', ...queues, ...newIds(queues)]

  const handle = async ([, [, payload]]) => {
    onStart(indexOf(payload))
    if (chunk) await commands.xadd(OUT, 'MAXLEN', '~', 1000, '*', 'type', 'chunk', 'data', payload)
    if (speech) await say(commands, speech, indexOf(payload))
    return { ok: 1 }
  }
  const run = async (batches) => {
    const pipeline = commands.pipeline()
    for (const [queue, entries] of batches) {
      await Promise.all(entries.map(handle))
      const ids = entries.map(([id]) => id)
      if (chunk) for (const [id] of entries) pipeline.xadd(OUT, 'MAXLEN', '~', 1000, '*', 'type', 'done', 'data', id)
      pipeline.xack(queue, GROUP, ...ids)
      pipeline.xdel(queue, ...ids)
    }
    pipeline.xreadgroup(...read, ...streams)
    const answers = await pipeline.exec()
    for (const [error] of answers) if (error) throw error
    for (const [, entries] of batches) for (const [, [, payload]] of entries) onEnd(indexOf(payload))
    return answers.at(-1)[1]
  }
  let stopping = false
  const loop = async () => {
    while (!stopping) {
      let batches = await blocking.xreadgroup(...read, 'BLOCK', BLOCK_MS, ...streams)
      while (batches) batches = await run(batches)
    }
  }
  const running = loop()
  return {
    stop: async () => {
      stopping = true
      await running
      commands.disconnect()
      blocking.disconnect()
    },
  }
}

const openReaders = async ({ port, queue, sessions, onChunk, onDone }) => {
  const [commands, reader] = [connect(port, { enableAutoPipelining: true }), connect(port)]
  await commands.del(...Array.from({ length: sessions }, (_, session) => outOf(session)))
  const places = new Map(Array.from({ length: sessions }, (_, session) => [outOf(session), { session, last: '0' }]))
  const hear = (stream, entries) => {
    const place = places.get(stream)
    for (const [, [type, text]] of entries) {
      if (type === 'chunk') onChunk(place.session, text)
      else {
        places.delete(stream)
        onDone(place.session)
      }
    }
    place.last = entries.at(-1)[0]
  }
  const follow = async () => {
    while (places.size > 0) {
      const lasts = [...places.values()].map(({ last }) => last)
      const options = ['COUNT', ONE_READ, 'BLOCK', BLOCK_MS, 'STREAMS']
      const answer = await reader.xread(...options, ...places.keys(), ...lasts)
      for (const [stream, entries] of answer ?? []) hear(stream, entries)
      if (sessions > 1) await sleep(PAUSE_MS)
    }
  }
  const following = follow()
  return {
    send: (_session, payload) => commands.xadd(queue, '*', 'data', payload),
    close: async () => {
      await following
      for (const each of [commands, reader]) each.disconnect()
    },
  }
}

const openAsker = async ({ port, queues }) => {
  const commands = connect(port)
  const reader = connect(port)
  let chunk
  let done
  let closing = false
  const follow = async () => {
    let last = '0'
    while (!closing) {
      const answer = await reader.xread('BLOCK', BLOCK_MS, 'STREAMS', OUT, last)
      for (const [id, [, type]] of answer?.[0][1] ?? []) {
        last = id
        if (type === 'chunk') chunk.resolve(nowMs())
        else done.resolve()
      }
    }
  }
  const following = follow()
  return {
    ask: async (queueIndex, payload) => {
      chunk = withResolvers()
      done = withResolvers()
      await commands.xadd(queues[queueIndex], '*', 'data', payload)
      return { chunkMs: await chunk.promise, done: done.promise }
    },
    close: async () => {
      closing = true
      await following
      commands.disconnect()
      reader.disconnect()
    },
  }
}

export const contender = {
  id: 'bare-streams',
  title: 'bare Streams loop',
  version: () => `ioredis ${createRequire(import.meta.url)('ioredis/package.json').version}`,
  promises:
    'none beyond the group: no record, no fence, no event, no recovery, no retry; the physical floor of XADD, XREADGROUP, XACK, XDEL',
  variants: {},
  openProducer,
  startWorker,
  openAsker,
  openReaders,
  remaining: (redis, queue) => redis.xlen(queue),
  countEnds: async (_redis, { report, from = 0 }) => ({
    ended: report.ended - from - report.endedTwice,
    repeated: report.endedTwice,
  }),
}
