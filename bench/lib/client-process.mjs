// The asking side in a process of its own: sends, and for the latency scenario also reads what comes back.
import { setTimeout as sleep } from 'node:timers/promises'
import { serveParent } from './child.mjs'
import { nowMs } from './clock.mjs'
import { contenderById } from './contenders.mjs'
import { payloadOf } from './payload.mjs'

let producer
let asker

/** Sends tasks `from` to `to`, so many in flight. */
const sendAll = async ({ from, to, inFlight }) => {
  let next = from
  const lane = async () => {
    while (next < to) {
      const index = next++
      await producer.send(index, payloadOf(index))
    }
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
}

serveParent({
  openProducer: async ({ contender, ...options }) => {
    producer = await (await contenderById(contender)).openProducer(options)
  },
  send: async (range) => {
    const cpu = process.cpuUsage()
    const begin = nowMs()
    await sendAll(range)
    const tookMs = nowMs() - begin
    const { user, system } = process.cpuUsage(cpu)
    return { tookMs, cpuMicros: user + system }
  },
  /** As fast as the contender can by its own means; not measured. */
  sendMany: ({ from, to }) => producer.sendMany(from, to, payloadOf),
  closeProducer: async () => {
    await producer.close()
  },

  openAsker: async ({ contender, ...options }) => {
    asker = await (await contenderById(contender)).openAsker(options)
  },
  /** One at a time with small uneven gaps, each over the next queue: milliseconds from send to first chunk. */
  ask: async ({ from, to, queues, minGapMs, maxGapMs }) => {
    const samples = []
    for (let index = from; index < to; index++) {
      const begin = nowMs()
      const { chunkMs, done } = await asker.ask(index % queues, payloadOf(index))
      samples.push(chunkMs - begin)
      await done
      await sleep(minGapMs + Math.random() * (maxGapMs - minGapMs))
    }
    return samples
  },
  closeAsker: async () => {
    await asker.close()
  },
})
