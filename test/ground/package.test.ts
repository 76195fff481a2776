import { expect, test } from 'vitest'

test('what was built exports classes and functions under the names that they bear', async () => {
  // By its place: its name means the sources here.
  const place = new URL('../../dist/index.js', import.meta.url).href
  const built = (await import(/* @vite-ignore */ place)) as Record<string, unknown>
  const functions = Object.entries(built).filter(
    (entry): entry is [string, () => unknown] => entry[1] instanceof Function,
  )
  expect(functions.length).toBeGreaterThan(20)
  for (const [name, { name: own }] of functions) expect(own).toBe(name)
})
