// A proxy in a process of its own: hands on what its connections carry so many milliseconds later, both ways, in order.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { startAlarm } from './alarm.mjs'
import { serveParent } from './child.mjs'
import { nowMs } from './clock.mjs'

let delayMs = 0
let server

/** What is under way, the earliest first: all take equally long. */
const underWay = []
let isWaiting = false

const deliverDue = () => {
  const now = nowMs()
  let due = 0
  while (due < underWay.length && underWay[due].dueMs <= now) due += 1
  for (const { handOn } of underWay.splice(0, due)) handOn()
  isWaiting = underWay.length > 0
  if (isWaiting) setAlarm(underWay[0].dueMs)
}

const setAlarm = startAlarm(deliverDue)

const later = (handOn) => {
  if (delayMs === 0) return handOn()
  const dueMs = nowMs() + delayMs
  underWay.push({ handOn, dueMs })
  if (isWaiting) return
  isWaiting = true
  setAlarm(dueMs)
}

/** The end of a connection comes behind what was under way; a broken one breaks at once. */
const join = (from, to) => {
  from.on('data', (bytes) => later(() => to.write(bytes)))
  from.on('end', () => later(() => to.end()))
  from.on('error', () => to.destroy())
}

serveParent({
  start: async ({ targetPort }) => {
    server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
      const target = connect({ port: targetPort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
      join(client, target)
      join(target, client)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return server.address().port
  },
  delay: ({ ms }) => {
    delayMs = ms
  },
})
