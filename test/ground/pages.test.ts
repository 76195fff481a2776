import { describe, expect, test } from 'vitest'
import { FINDING_KINDS } from '../../src/audit/finding-text.ts'
import { ClaimingPage } from './pages.ts'

const reliability = new ClaimingPage('docs/reliability.md')
const durable = new ClaimingPage('docs/durable-calls.md')

describe.each([
  ['on reliability', reliability, 40],
  ['on durable calls', durable, 20],
])('the page %s', (_, page, failures) => {
  test('has a row for each of the known failures, and each says where it is tested, or that it is not', () => {
    const numbers = page.rows.map((row) => Number(row.split('|')[1]))
    expect(numbers).toEqual(Array.from({ length: failures }, (_, index) => index + 1))
    expect(page.rows.filter((row) => !/`test\/|\*not covered(?: yet)?\*/.test(row))).toEqual([])
  })

  test('names test files that exist', () => {
    expect(page.claims.length).toBeGreaterThanOrEqual(failures)
    expect(page.missingFiles).toEqual([])
  })

  test('names tests that exist in them', () => {
    expect(page.missingTitles).toEqual([])
    expect(page.claims.filter(({ titles }) => titles.length === 0)).toEqual([])
  })

  test('leads to places on the page that exist', () => {
    expect(page.missingPlaces).toEqual([])
  })
})

test('the page on reliability has a row for each kind of finding', () => {
  const rows = [...reliability.text.matchAll(/^\| `([a-z-]+)`: /gm)].map(([, kind]) => kind)
  expect(rows.sort()).toEqual([...FINDING_KINDS].sort())
})
