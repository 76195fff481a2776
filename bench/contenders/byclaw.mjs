import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { withResolvers } from '../lib/child.mjs'
import { speak, tokensOf } from '../lib/chunks.mjs'
import { nowMs } from '../lib/clock.mjs'
import { indexOf } from '../lib/payload.mjs'
import { importSdk } from '../lib/sdk.mjs'

const { GatewayClient, GatewayWorker, MemoryHistory, RedisHistory, runWorker } = await importSdk()

const SHARED = { id: 'shared', title: '100 sessions', sessions: 100 }
const OWN = { id: 'own', title: 'a session per task', sessions: 1_000_000_000 }
const SHORT_TTL_MS = 1000
const SHORT_LIVED = {
  ...OWN,
  title: 'a session per task, all kept 1 s',
  ttlMs: SHORT_TTL_MS,
  workerOptions: { resultTtlMs: SHORT_TTL_MS, streamTtlMs: SHORT_TTL_MS },
}
const EACH = { id: '', title: '' }
const JOINED = { id: 'joined', title: 'chunks of 2 ms joined', workerOptions: { coalesceMs: 2 }, full: true }
const IN_FLIGHT = 500
const SCAN_BATCH = 500
const ASK_SESSION = 'asking'

const urlOf = (port) => `redis://127.0.0.1:${port}/0`
const sessionOf = (index, { sessions = SHARED.sessions } = {}) => `s-${index % sessions}`

const mustBeSent = (sent) => {
  if (!sent.success) throw new Error(`send refused: ${sent.status} ${sent.error}`)
  return sent
}

const openProducer = async ({ port, queue, variant }) => {
  const client = new GatewayClient({ redis: urlOf(port) })
  const send = async (index, payload) =>
    mustBeSent(
      await client.sendMessage({ targetAgentType: queue, sessionId: sessionOf(index, variant), content: payload }),
    )
  return {
    send,
    sendMany: async (from, to, payloadOf) => {
      let next = from
      const lane = async () => {
        while (next < to) {
          const index = next++
          await send(index, payloadOf(index))
        }
      }
      await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
    },
    close: () => client.close(),
  }
}

/** Where the worker keeps what is said: `off`, `memory` (its default), `redis`, or the URL of a Postgres. */
const openHistory = async (kind, port) => {
  if (kind === undefined || kind === 'off') return kind === undefined ? undefined : false
  if (kind === 'memory') return new MemoryHistory()
  if (kind === 'redis') return new RedisHistory({ redis: urlOf(port) })
  const { PostgresHistory } = await importSdk('/history/postgres')
  const history = new PostgresHistory({ connectionString: kind })
  await history.open()
  return history
}

const startWorker = async ({ port, queues, concurrency, variant, chunk, speech, onStart }) => {
  const history = await openHistory(variant.history, port)
  class BenchAgent extends GatewayWorker {
    getCapabilities() {
      return queues
    }

    async processCommand(command, context) {
      onStart(indexOf(command.content))
      if (chunk) await context.emitChunk('chunk')
      if (speech) await speak(speech, (text) => context.emitChunk(text))
      return { ok: 1 }
    }
  }
  const worker = await runWorker({
    workerClass: BenchAgent,
    redis: urlOf(port),
    maxConcurrency: concurrency,
    ...variant.workerOptions,
    ...(history === undefined ? {} : { history }),
  })
  return {
    stop: async () => {
      await worker.stop()
      if (worker.history?.putBy > 0) throw new Error(`the history was down: ${JSON.stringify(worker.history)}`)
      if (history) await history.close()
    },
  }
}

const openAsker = async ({ port, queues }) => {
  const client = new GatewayClient({ redis: urlOf(port) })
  const stop = new AbortController()
  let chunk
  let done
  const follow = async () => {
    for await (const event of client.subscribe(ASK_SESSION, { after: '0', signal: stop.signal })) {
      if (event.type === 'chunk') chunk.resolve(nowMs())
      else if (event.type === 'done') done.resolve()
    }
  }
  const following = follow().catch((error) => {
    if (!stop.signal.aborted) throw error
  })
  return {
    ask: async (queueIndex, payload) => {
      chunk = withResolvers()
      done = withResolvers()
      const sent = client.sendMessage({ targetAgentType: queues[queueIndex], sessionId: ASK_SESSION, content: payload })
      const chunkMs = await chunk.promise
      mustBeSent(await sent)
      return { chunkMs, done: done.promise }
    },
    close: async () => {
      stop.abort()
      await following
      await client.close()
    },
  }
}

const openReaders = async ({ port, queue, sessions, variant, onChunk, onDone }) => {
  const client = new GatewayClient({ redis: urlOf(port) })
  const idOf = (session) => `${queue}-${session}`
  const follow = async (session) => {
    for await (const event of client.subscribe(idOf(session), { messageId: idOf(session), after: '0' })) {
      if (event.type === 'chunk' && variant.workerOptions?.coalesceMs) {
        for (const token of tokensOf(event.content)) onChunk(session, token)
      } else if (event.type === 'chunk') onChunk(session, event.content)
      else if (event.type === 'done') onDone(session)
    }
  }
  const following = Promise.all(Array.from({ length: sessions }, (_, session) => follow(session)))
  return {
    send: async (session, payload) =>
      mustBeSent(
        await client.sendMessage({
          ...{ targetAgentType: queue, sessionId: idOf(session), messageId: idOf(session), content: payload },
        }),
      ),
    close: async () => {
      await following
      await client.close()
    },
  }
}

/** Every `done` event in Redis by message, read from the streams themselves rather than through the SDK. */
const doneEvents = async (redis, sessions) => {
  const counts = new Map()
  for (let begin = 0; begin < sessions.length; begin += SCAN_BATCH) {
    const pipeline = redis.pipeline()
    for (const session of sessions.slice(begin, begin + SCAN_BATCH))
      pipeline.xrange(`queue:data:stream:{${session}}`, '-', '+')
    for (const [error, entries] of await pipeline.exec()) {
      if (error) throw error
      for (const [, fields] of entries) {
        const event = JSON.parse(fields[fields.indexOf('data') + 1])
        if (event.event_type === 'done') counts.set(event.message_id, (counts.get(event.message_id) ?? 0) + 1)
      }
    }
  }
  return counts
}

/** Its scripts by their SHA, to name them in a profile. */
const scriptNames = async () => {
  const baked = await readFile(new URL('../../src/redis/lua.generated.ts', import.meta.url), 'utf8')
  return Object.fromEntries(Array.from(baked.matchAll(/^ +(\w+): \{ sha: '(\w+)'/gm), ([, name, sha]) => [sha, name]))
}

export const contender = {
  id: 'byclaw',
  title: 'byclaw-gateway-sdk',
  version: () => createRequire(new URL('../../package.json', import.meta.url))('./package.json').version,
  promises:
    'record with state, epoch and result kept until its TTL, every write fenced by epoch, exactly one `done` event in the session’s data ' +
    'stream, entry acked and deleted together; recovery after a crash within 5 s',
  variants: { drain: [SHARED, OWN], growth: [SHORT_LIVED], chunks: [EACH, JOINED] },
  openProducer,
  startWorker,
  openAsker,
  openReaders,
  scriptNames,
  remaining: (redis, queue) => redis.xlen(`queue:ctrl:${queue}`),
  countEnds: async (redis, { from = 0, tasks, variant }) => {
    const sessions = new Set(Array.from({ length: tasks }, (_, offset) => sessionOf(from + offset, variant)))
    const counts = await doneEvents(redis, [...sessions])
    return { ended: counts.size, repeated: [...counts.values()].filter((count) => count > 1).length }
  },
}
