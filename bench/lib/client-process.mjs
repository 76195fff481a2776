// The asking side in a process of its own: sends, and for the latency scenario also reads what comes back.
import { setTimeout as sleep } from 'node:timers/promises'
import { serveParent } from './child.mjs'
import { newHearing } from './chunks.mjs'
import { nowMs } from './clock.mjs'
import { contenderById } from './contenders.mjs'
import { payloadOf } from './payload.mjs'
import { percentile } from './stats.mjs'

let producer
let asker
let readers

/** Sends tasks `from` to `to`, so many in flight; resolves with the milliseconds of each until its answer, in ascending order. */
const sendAll = async ({ from, to, inFlight, payload }) => {
  const samples = new Float64Array(to - from)
  let next = from
  const lane = async () => {
    while (next < to) {
      const index = next++
      const begin = performance.now()
      await producer.send(index, payloadOf(index, payload))
      samples[index - from] = performance.now() - begin
    }
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
  return samples.sort()
}

serveParent({
  openProducer: async ({ contender, ...options }) => {
    producer = await (await contenderById(contender)).openProducer(options)
  },
  send: async (range) => {
    const cpu = process.cpuUsage()
    const begin = nowMs()
    const samples = await sendAll(range)
    const tookMs = nowMs() - begin
    const { user, system } = process.cpuUsage(cpu)
    const [p50, p99, p999] = [50, 99, 99.9].map((p) => percentile(samples, p))
    return { tookMs, cpuMicros: user + system, p50, p99, p999 }
  },
  /** As fast as the contender can by its own means; not measured. */
  sendMany: ({ from, to, payload }) => producer.sendMany(from, to, (index) => payloadOf(index, payload)),
  closeProducer: async () => {
    await producer.close()
  },

  openAsker: async ({ contender, ...options }) => {
    asker = await (await contenderById(contender)).openAsker(options)
  },
  /** One at a time with small uneven gaps, each over the next queue: milliseconds from send to first chunk, and to the end. */
  ask: async ({ from, to, queues, minGapMs, maxGapMs }) => {
    const chunks = []
    const ends = []
    for (let index = from; index < to; index++) {
      const begin = nowMs()
      const { chunkMs, done } = await asker.ask(index % queues, payloadOf(index))
      chunks.push(chunkMs - begin)
      await done
      ends.push(nowMs() - begin)
      await sleep(minGapMs + Math.random() * (maxGapMs - minGapMs))
    }
    return { chunks, ends }
  },
  closeAsker: async () => {
    await asker.close()
  },

  openReaders: async ({ contender, sessions, count, ...options }) => {
    const hearing = newHearing(sessions, count)
    const { onChunk, onDone } = hearing
    const { openReaders } = await contenderById(contender)
    readers = { hearing, sessions, ...(await openReaders({ ...options, sessions, onChunk, onDone })) }
  },
  /** One task for each session, then the count of CPU time begins. */
  sendTasks: async () => {
    const send = (session) => readers.send(session, payloadOf(session))
    await Promise.all(Array.from({ length: readers.sessions }, (_, session) => send(session)))
    readers.cpu = process.cpuUsage()
  },
  heardAll: async () => {
    await readers.hearing.completed
    const { user, system } = process.cpuUsage(readers.cpu)
    readers.cpuMicros = user + system
  },
  closeReaders: async () => {
    await readers.close()
    return { ...readers.hearing.report(), cpuMicros: readers.cpuMicros }
  },
})
