import { describe, expect, test } from 'vitest'
import { oneLine } from '../../src/cli/failure.ts'
import { type Column, printable, tableLines } from '../../src/cli/table.ts'
import { ago, clock, lasted } from '../../src/cli/times.ts'
import { span } from '../../src/util/span.ts'
import { placeOf } from '../../src/util/stack-place.ts'

interface Row {
  readonly name: string
  readonly count: number
  readonly text: string
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'NAME', cell: ({ name }) => name },
  { title: 'N', cell: ({ count }) => String(count), align: 'right' },
  { title: 'TEXT', cell: ({ text }) => text },
]

describe('a table', () => {
  test('has columns as wide as they need, and no space at the end of a line', () => {
    const rows = [
      { name: 'a', count: 5, text: 'short' },
      { name: 'longer', count: 1234, text: '' },
    ]
    expect(tableLines(COLUMNS, rows)).toEqual(['NAME       N  TEXT', 'a          5  short', 'longer  1234'])
  })

  test('may have as many rows as there are', () => {
    const rows = Array.from({ length: 200_000 }, (_, count) => ({ name: 'a', count, text: '' }))
    expect(tableLines(COLUMNS, rows).at(-1)).toBe('a     199999')
  })

  test('counts the cells of a terminal, not characters', () => {
    const rows = [
      { name: '北京', count: 1, text: 'x' },
      { name: 'abcd', count: 2, text: 'x' },
    ]
    expect(tableLines(COLUMNS, rows).slice(1)).toEqual(['北京  1  x', 'abcd  2  x'])
  })

  test('is cut to the terminal in its last column only', () => {
    const rows = [{ name: 'name', count: 1, text: 'a text that is 北京 too long' }]
    expect(tableLines(COLUMNS, rows, { width: 27 }).at(-1)).toBe('name  1  a text that is 北…')
    expect(tableLines(COLUMNS, rows, { width: 5 }).at(-1)).toBe('name  1  a text …')
  })

  test('lets nobody move the cursor', () => {
    expect(printable('a\u001b[2Jb\r\nc\td\u0000')).toBe('a�[2Jb⏎c�d�')
    const rows = [{ name: '\u001b[31m', count: 1, text: '\n' }]
    expect(tableLines(COLUMNS, rows)[1]).toBe('�[31m  1  ⏎')
  })
})

test.each([
  [0, '0ms'],
  [999, '999ms'],
  [1_000, '1s'],
  [119_000, '1m'],
  [7_200_000, '2h'],
  [200_000_000, '2d'],
  [-5, '0ms'],
])('%i ms are %s', (ms, text) => {
  expect(span(ms)).toBe(text)
})

test('how long ago, by clocks that may differ', () => {
  expect(ago(Date.now() + 5_000)).toBe('now')
  expect(ago(Date.now() - 90_000)).toBe('1m')
  expect(lasted(1_000, 1_250)).toBe('250ms')
  expect(lasted(1_000, null)).toBe('-')
  expect(clock(new Date(2026, 0, 2, 3, 4, 5, 6).getTime())).toBe('03:04:05.006')
})

test('one line of many', () => {
  expect(oneLine('a\n   b\r\n\r\nc\u001b')).toBe('a b c�')
})

describe('the place of an error', () => {
  const at = (...lines: string[]) => Object.assign(new Error('x'), { stack: ['Error: x', ...lines].join('\n') })

  test('is the first line that is neither Node nor a package', () => {
    expect(
      placeOf(
        at(
          '    at node:internal/modules/run:5:1',
          '    at parse (/home/u/node_modules/zod/index.js:1:2)',
          '    at async Agent.run (file:///home/u/my%20agent.ts?v=1:12:5)',
        ),
      ),
    ).toBe('/home/u/my agent.ts:12:5')
    expect(placeOf(at('    at /home/u/agent.ts:3:7'))).toBe('/home/u/agent.ts:3:7')
  })

  test('may be unknown', () => {
    expect(placeOf(at('    at node:internal/x:1:1'))).toBeUndefined()
    expect(placeOf('text')).toBeUndefined()
  })
})
