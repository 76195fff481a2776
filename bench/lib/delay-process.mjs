// A proxy in a process of its own: hands on what its connections carry so many milliseconds later, both ways, in order.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { serveParent } from './child.mjs'

const TIMER_MS = 2

let delayMs = 0
let server

/** What is under way, the earliest first: all take equally long. */
const underWay = []
let isWaiting = false

const deliverDue = () => {
  const now = performance.now()
  let due = 0
  while (due < underWay.length && underWay[due].dueMs <= now) due += 1
  for (const { to, bytes } of underWay.splice(0, due)) to.write(bytes)
  isWaiting = underWay.length > 0
  if (isWaiting) wait(underWay[0].dueMs - now)
}

/** The timers of Node are up to a millisecond late, as much as is to be measured; so the last bit is waited for turn by turn. */
const wait = (ms) => {
  if (ms > TIMER_MS) setTimeout(deliverDue, ms - TIMER_MS)
  else setImmediate(deliverDue)
}

const later = (to, bytes) => {
  underWay.push({ to, bytes, dueMs: performance.now() + delayMs })
  if (isWaiting) return
  isWaiting = true
  wait(delayMs)
}

const handOn = (from, to) => {
  from.on('data', (bytes) => {
    if (delayMs === 0) to.write(bytes)
    else later(to, bytes)
  })
  from.on('close', () => to.destroy())
  // A broken connection is closed at both ends; there is nothing else to do about it.
  from.on('error', () => to.destroy())
}

serveParent({
  start: async ({ targetPort }) => {
    server = createServer({ noDelay: true }, (client) => {
      const target = connect({ port: targetPort, host: '127.0.0.1', noDelay: true })
      handOn(client, target)
      handOn(target, client)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return server.address().port
  },
  delay: ({ ms }) => {
    delayMs = ms
  },
})
