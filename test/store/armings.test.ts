import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Armings } from '../../src/store/armings.ts'

test('a session is due once in a period', async () => {
  const armings = new Armings(40)
  expect([armings.isDue('a'), armings.isDue('a'), armings.isDue('b'), armings.isDue('b')]).toEqual([
    true,
    false,
    true,
    false,
  ])
  await pause(60)
  expect([armings.isDue('a'), armings.isDue('a')]).toEqual([true, false])
})
