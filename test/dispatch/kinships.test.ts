import { expect, test } from 'vitest'
import { Kinship, Kinships } from '../../src/dispatch/kinships.ts'
import { KinReader, type TaskKin } from '../../src/store/kin.ts'
import { openStore } from '../redis/harness.ts'
import { House } from '../worker/harness.ts'

class Counting extends KinReader {
  readonly read: string[] = []
  fault: Error | undefined

  override async open(sessionId: string): Promise<TaskKin[]> {
    this.read.push(sessionId)
    const kin = await super.open(sessionId)
    if (this.fault !== undefined) throw this.fault
    return kin
  }
}

function countingReader(): Counting {
  const { keys } = new House()
  return new Counting(openStore().redis, keys)
}

const kin = (messageId: string, parentMessageId: string): TaskKin => ({ messageId, parentMessageId, isEnded: false })

test('who asks while a session is read has the next read, together with all others', async () => {
  const records = countingReader()
  const kinships = new Kinships(records)
  const [first, ...later] = await Promise.all(Array.from({ length: 100 }, () => kinships.of('s')))
  expect(records.read).toEqual(['s', 's'])
  expect(new Set(later).size).toBe(1)
  expect(later[0]).not.toBe(first)
  await Promise.all([kinships.of('s'), kinships.of('s-2')])
  expect(records.read).toEqual(['s', 's', 's', 's-2'])
})

test('a read that fails fails for those who share it, and no other', async () => {
  const records = countingReader()
  const kinships = new Kinships(records)
  records.fault = new Error('away')
  expect((await Promise.allSettled([kinships.of('s'), kinships.of('s')])).map(({ status }) => status)).toEqual([
    ...['rejected', 'rejected'],
  ])
  records.fault = undefined
  expect((await kinships.of('s')).all).toEqual([])
})

test('below a task is all that was sent on its behalf, each once, also in a circle', () => {
  const kinship = new Kinship([kin('a', ''), kin('b', 'a'), kin('c', 'b'), kin('d', 'a'), kin('e', 'f'), kin('f', 'e')])
  const below = (messageId: string) => kinship.below(messageId).map((task) => task.messageId)
  expect(below('a').sort()).toEqual(['b', 'c', 'd'])
  expect(below('e').sort()).toEqual(['e', 'f'])
  expect(below('c')).toEqual([])
})
