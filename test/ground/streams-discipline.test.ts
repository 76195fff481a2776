import { expect, test } from 'vitest'
import { filesIn, textOf } from './sources.ts'

const sources = [...filesIn('src', '.ts'), ...filesIn('src', '.lua')]
  .filter((path) => !path.endsWith('.generated.ts'))
  .map((path) => ({ path, text: withoutComments(textOf(path)) }))
const using = (pattern: RegExp) => sources.filter(({ text }) => pattern.test(text)).map(({ path }) => path)

/** Prose may name a command without using it. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|^\s*(\/\/|--).*$/gm, '')
}

test('a control stream is never trimmed: only session streams, wake-ups and dead letters have an end', () => {
  expect(using(/MAXLEN|MINID|XTRIM/).sort()).toEqual([
    'src/redis/lua/bury.lua',
    'src/redis/lua/include/answers.lua',
    'src/redis/lua/include/events.lua',
    'src/redis/lua/journal-ask.lua',
    'src/store/inbox.ts',
  ])
})

test('no scan without bounds: no KEYS, and no XPENDING with IDLE, which walks over all that is pending', () => {
  expect(using(/'XPENDING'[^\n]*'IDLE'/)).toEqual([])
  expect(using(/call\(\s*'(KEYS|SMEMBERS|FLUSHALL|FLUSHDB)'/)).toEqual([])
})

test('no group and no key of a task is destroyed in one long command', () => {
  expect(using(/'DESTROY'/)).toEqual([])
})

test('this machine’s clock decides nothing: where leases, delays and expiry live, nobody reads it', () => {
  // Elsewhere it notes for people when something was said.
  const readers = using(/Date\.now\(\)|new Date\(\)/)
  expect(readers).toContain('src/protocol/event.ts')
  expect(readers.filter((path) => /^src\/(redis|store|worker|audit)\//.test(path))).toEqual([])
  expect(using(/os\.time|os\.clock/)).toEqual([])
})
