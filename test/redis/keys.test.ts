import calculateSlot from 'cluster-key-slot'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { idFault } from '../../src/protocol/ids.ts'
import { Keys } from '../../src/redis/keys.ts'

const keys = new Keys('queue')

test('each key is the one of the contract', () => {
  expect([keys.control('weather'), keys.control('weather', 'high'), keys.control('weather', 'low')]).toEqual([
    ...['queue:ctrl:weather', 'queue:ctrl:weather:high', 'queue:ctrl:weather:low'],
  ])
  expect(keys.control('weather', '@w:1')).toBe('queue:own:{queue:ctrl:weather}:w:1')
  expect(calculateSlot(keys.control('weather', '@w:1'))).toBe(calculateSlot(keys.control('weather')))
  expect(keys.dead('weather')).toBe('queue:dead:weather')
  expect(keys.deadIndex('weather')).toBe('queue:dead-index:{queue:dead:weather}')
  expect(calculateSlot(keys.deadIndex('weather'))).toBe(calculateSlot(keys.dead('weather')))
  expect(keys.deadCapabilities()).toBe('queue:dead-capabilities')
  expect(keys.task('s-1', 'm-1')).toBe('queue:task:{s-1}:m-1')
  expect(keys.session('s-1')).toBe('queue:session:{s-1}')
  expect(keys.data('s-1')).toBe('queue:data:stream:{s-1}')
  expect([keys.worker('w'), keys.workers(), keys.capability('c')]).toEqual([
    'queue:worker:w',
    'queue:workers',
    'queue:capability:c',
  ])
})

test('all that belongs to one session lies in one slot, and a task’s key tells its ids', () => {
  const id = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }).filter((value) => idFault(value) === null)
  const prefix = fc.string({ minLength: 1, maxLength: 10 }).filter((value) => /^[^\s{}]+$/.test(value))
  fc.assert(
    fc.property(prefix, id, id, id, (name, sessionId, one, two) => {
      const own = new Keys(name)
      const all = [own.task(sessionId, one), own.task(sessionId, two), own.session(sessionId), own.data(sessionId)]
      all.push(own.journal(sessionId, one), own.blobs(sessionId, one))
      expect(new Set(all.map((key) => calculateSlot(key))).size).toBe(1)
      expect(own.parseTask(own.task(sessionId, one))).toEqual({ sessionId, messageId: one })
      expect(own.parseTask(own.session(sessionId))).toBeNull()
      expect(own.parseTask(new Keys(`${name}x`).task(sessionId, one))).toBeNull()
    }),
  )
})

test('a key that a walk finds is told for what it is', () => {
  const parsed = (key: string) => keys.parse(key)
  expect(parsed(keys.task('s-1', 'm:1'))).toEqual({ family: 'task', sessionId: 's-1', messageId: 'm:1' })
  expect(parsed(keys.journal('s-1', 'm-1'))).toEqual({ family: 'journal', sessionId: 's-1', messageId: 'm-1' })
  expect(parsed(keys.blobs('s-1', 'm-1'))).toEqual({ family: 'blobs', sessionId: 's-1', messageId: 'm-1' })
  expect(parsed(keys.session('s:1'))).toEqual({ family: 'session', sessionId: 's:1' })
  expect(parsed(keys.data('s-1'))).toEqual({ family: 'data', sessionId: 's-1' })
  expect(parsed(keys.worker('w:1'))).toEqual({ family: 'worker', workerId: 'w:1' })
  for (const priority of ['high', 'normal', 'low'] as const) {
    const lane = { family: 'control', capability: 'a.b-c', priority }
    expect(parsed(keys.control('a.b-c', priority))).toEqual(lane)
    expect(parsed(keys.control('a.b-c', priority, '1.2.3+x'))).toEqual({ ...lane, version: '1.2.3+x' })
  }
  expect(parsed(keys.dead('a'))).toEqual({ family: 'dead', capability: 'a' })
  expect(parsed(keys.capability('a'))).toEqual({ family: 'capability', capability: 'a' })
  const others = [
    'queue:ctrl:worker:w',
    'queue:ctrl:worker:high',
    'queue:ctrl:a:b',
    'queue:dead:a:high',
    'queue:dead:a@v1',
    'queue:own:{queue:dead:a}:w',
    'queue:own:{queue:ctrl:a}:',
    'queue:workers',
  ]
  const odd = ['queue:task:{s}', 'queue:session:{s}:m', 'queue:delayed:0', 'queuex:dead:a', 'queue:', '']
  expect([...others, ...odd].map(parsed)).toEqual([...others, ...odd].map(() => null))
})
