import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { FINDING_KINDS } from '../../src/audit/finding-text.ts'
import { textOf } from './sources.ts'

const PAGE = textOf('docs/reliability.md')
const existing = (path: string) => existsSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)))

/** Files and, after each, the titles of its tests that the page names. */
function claims(): { path: string; titles: string[] }[] {
  return [...PAGE.matchAll(/`(test\/[\w./-]+\.ts)`((?:,? "[^"]+")*)/g)].map(([, path = '', titles = '']) => ({
    path,
    titles: [...titles.matchAll(/"([^"]+)"/g)].map(([, title = '']) => title),
  }))
}

describe('the page on reliability', () => {
  test('has a row for each of the forty failures, and each says where it is tested, or that it is not', () => {
    const rows = PAGE.split('\n').filter((line) => /^\| \d+ \|/.test(line))
    expect(rows.map((row) => Number(row.split('|')[1]))).toEqual(Array.from({ length: 40 }, (_, index) => index + 1))
    expect(rows.filter((row) => !/`test\/|\*not covered yet\*/.test(row))).toEqual([])
  })

  test('names test files that exist', () => {
    expect(claims().length).toBeGreaterThan(40)
    expect([...new Set(claims().map(({ path }) => path))].filter((path) => !existing(path))).toEqual([])
  })

  test('names tests that exist in them', () => {
    const missing = claims()
      .filter(({ path }) => existing(path))
      .flatMap(({ path, titles }) => {
        const text = textOf(path)
        return titles.filter((title) => !text.includes(`'${title}'`)).map((title) => `${path}: ${title}`)
      })
    expect(missing).toEqual([])
    expect(claims().filter(({ titles }) => titles.length === 0)).toEqual([])
  })

  test('has a row for each kind of finding', () => {
    const rows = [...PAGE.matchAll(/^\| `([a-z-]+)`: /gm)].map(([, kind]) => kind)
    expect(rows.sort()).toEqual([...FINDING_KINDS].sort())
  })

  test('leads to places on the page that exist', () => {
    const places = [...PAGE.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => title.toLowerCase().replaceAll(' ', '-'))
    const wanted = [...PAGE.matchAll(/\]\(#([^)]+)\)/g)].map(([, place]) => place)
    expect(wanted.filter((place) => !places.includes(place ?? ''))).toEqual([])
  })
})
