import { expect, test } from 'vitest'
import type { ControlStream } from '../../src/store/control-streams.ts'
import { deferred } from '../../src/util/deferred.ts'
import { Settlement } from '../../src/worker/settlement.ts'
import { memoryLogger } from './harness.ts'

const stream = { key: 'k' } as ControlStream

/** What is asked of a server that answers what it is told to. */
function open(answer: (call: number) => Promise<void>) {
  const asked: unknown[] = []
  const settle = (settled: ReadonlyMap<string, readonly string[]>) => answer(asked.push([...settled]))
  const logger = memoryLogger()
  return { asked, logger, settlement: new Settlement({ settle } as never, logger) }
}

test('all acks of one turn go in one call, and what failed goes with the next', async () => {
  const { asked, settlement, logger } = open(async (call) => {
    if (call === 1) throw new Error('READONLY')
  })
  settlement.add({ stream, id: '1-0' })
  settlement.add({ stream, id: '1-1' })
  await new Promise(setImmediate)
  settlement.add({ stream, id: '1-2' })
  await settlement.flushed()
  expect(asked).toEqual([[['k', ['1-0', '1-1']]], [['k', ['1-0', '1-1', '1-2']]]])
  expect(logger.lines.map(({ level }) => level)).toEqual(['warn'])
})

test('who waits for all acks waits for those under way, and tries again what failed, but not for ever', async () => {
  const gate = deferred()
  const { asked, settlement } = open(async (call) => {
    if (call === 1) await gate.promise
    throw new Error('READONLY')
  })
  settlement.add({ stream, id: '1-0' })
  await new Promise(setImmediate)
  let isOver = false
  const flushed = settlement.flushed().then(() => {
    isOver = true
  })
  await new Promise(setImmediate)
  expect(isOver).toBe(false)
  gate.resolve()
  await flushed
  expect(asked).toEqual(Array.from({ length: 6 }, () => [['k', ['1-0']]]))
})
