import { expect, test } from 'vitest'
import { Batchers } from '../../src/util/batchers.ts'
import { deferred } from '../../src/util/deferred.ts'

test('what has one key shares batches; what is held up under one key holds nothing else up, and answers as it should', async () => {
  const batches: string[][] = []
  const held = deferred()
  const batchers = new Batchers<string, string>((item) => item.charAt(0), {
    run: async (items) => {
      batches.push(items)
      if (items.includes('a1')) await held.promise
      return items.map((item) => (item === 'b2' ? new Error('no') : item.toUpperCase()))
    },
  })
  const first = Promise.all(['a1', 'a2'].map((item) => batchers.add(item)))
  expect(await Promise.allSettled(['b1', 'b2', 'b3'].map((item) => batchers.add(item)))).toEqual([
    { status: 'fulfilled', value: 'B1' },
    { status: 'rejected', reason: new Error('no') },
    { status: 'fulfilled', value: 'B3' },
  ])
  const third = batchers.add('a3')
  held.resolve()
  expect([await first, await third]).toEqual([['A1', 'A2'], 'A3'])
  expect(batches).toEqual([['a1', 'a2'], ['b1', 'b2', 'b3'], ['a3']])
})
