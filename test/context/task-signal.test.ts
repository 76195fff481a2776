import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { TaskSignal } from '../../src/context/task-signal.ts'
import { GatewayError } from '../../src/errors.ts'
import { processWarnings } from '../support/warnings.ts'

const reason = new GatewayError('GW_SHUTDOWN', { workerId: 'w' })

test('aborts once, with its reason; the first one stays', () => {
  const signal = new TaskSignal()
  expect([signal.reason, signal.signal.aborted]).toEqual([undefined, false])
  expect(signal.signal).toBe(signal.signal)
  signal.abort(reason)
  signal.abort(new GatewayError('GW_CLOSED', { what: 'x' }))
  expect(signal.reason).toBe(reason)
  expect(signal.signal.aborted).toBe(true)
  expect(signal.signal.reason).toBe(reason)
})

test('one who asks for it after the abort finds it aborted', () => {
  const signal = new TaskSignal()
  signal.abort(reason)
  expect(signal.signal.aborted).toBe(true)
  expect(signal.signal.reason).toBe(reason)
})

test('listeners are called once, also those who come late', () => {
  const signal = new TaskSignal()
  const heard: string[] = []
  signal.onAbort((given) => heard.push(`early ${given.code}`))
  signal.signal.addEventListener('abort', () => heard.push('event'))
  signal.abort(reason)
  signal.abort(reason)
  signal.onAbort((given) => heard.push(`late ${given.code}`))
  expect(heard.sort()).toEqual(['early GW_SHUTDOWN', 'event', 'late GW_SHUTDOWN'])
})

test('many may listen at once, and Node does not take that for a leak', async () => {
  const warnings = processWarnings()
  const signal = new TaskSignal()
  let heard = 0
  for (let count = 0; count < 30; count += 1) signal.signal.addEventListener('abort', () => (heard += 1))
  await nextTurn()
  signal.abort(reason)
  expect({ heard, warnings }).toEqual({ heard: 30, warnings: [] })
})
