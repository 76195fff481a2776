import { expect, test } from 'vitest'

test('what was built exports classes and functions under the names that they bear', async () => {
  const built: Record<string, unknown> = await import('byclaw-gateway-sdk')
  const functions = Object.entries(built).filter(
    (entry): entry is [string, () => unknown] => entry[1] instanceof Function,
  )
  expect(functions.length).toBeGreaterThan(20)
  for (const [name, { name: own }] of functions) expect(own).toBe(name)
})
