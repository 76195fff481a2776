import { describe, expect, test } from 'vitest'
import { complaints, filesIn, importsOf, literalOf, memberOf, parse, type Source, textOf } from './sources.ts'

const inside = (path: string, homes: readonly string[]) => homes.some((home) => path.startsWith(home))

const PROCESS_HOMES = ['src/cli/', 'src/testing/']
/** The one file of the library that reads the environment: where Redis is, if no option says so. */
const ENVIRONMENT_HOME = 'src/redis/environment.ts'
const PRINT_HOMES = ['src/cli/']
const KEY_HOME = 'src/redis/keys.ts'

/** A library does not read the environment of the one who uses it, but for one file, and does not end his process. */
function processFaults(source: Source): string[] {
  if (inside(source.path, PROCESS_HOMES)) return []
  const names = [...(source.path === ENVIRONMENT_HOME ? [] : ['env']), 'exit', 'exitCode', 'abort']
  return complaints(source, (node) => {
    const member = memberOf(node)
    if (member?.object.replace('globalThis.', '') === 'process' && names.includes(member.name)) {
      return `uses process.${member.name}: only ${PROCESS_HOMES.join(' and ')} may, all else takes options`
    }
    const imported = importsOf(node)
    if (imported?.module.replace('node:', '') !== 'process') return undefined
    const name = imported.names.find((candidate) => names.includes(candidate))
    return name === undefined ? undefined : `imports ${name} of process: only ${PROCESS_HOMES.join(' and ')} may`
  })
}

/** A library does not print: it has a logger. */
function printFaults(source: Source): string[] {
  if (inside(source.path, PRINT_HOMES)) return []
  return complaints(source, (node) => {
    const member = memberOf(node)
    if (member?.object.replace('globalThis.', '') === 'console') return `calls console.${member.name}: use the logger`
    const stream = member?.object === 'process' && ['stdout', 'stderr'].includes(member.name)
    return stream ? `writes to process.${member.name}: use the logger` : undefined
  })
}

/** The families of keys, such as `ctrl` and `data:stream`, as the key file itself spells them. */
function keyFamilies(): string[] {
  const families = new Set<string>()
  complaints(parse(KEY_HOME, textOf(KEY_HOME)), (node) => {
    const literal = literalOf(node)
    const family = literal?.followsHole ? /^:([a-z][a-z:-]*[a-z])(?=:|$)/.exec(literal.text)?.[1] : undefined
    if (family !== undefined) families.add(family)
    return undefined
  })
  return [...families]
}

const KEY_FAMILIES = keyFamilies()

/** A text which looks like a key or a part of one: `queue:…`, `${prefix}:task:…`, `task:{…`. */
function looksLikeKey(text: string, followsHole: boolean): boolean {
  const family = `(?:${KEY_FAMILIES.join('|')})`
  if (new RegExp(`^queue:|(^|:)${family}:\\{`).test(text)) return true
  return new RegExp(`^:${family}(:|$)`).test(text) && (followsHole || /:$/.test(text))
}

/** A key that is spelled twice is spelled differently one day. */
function keyFaults(source: Source): string[] {
  if (source.path === KEY_HOME) return []
  return complaints(source, (node) => {
    const literal = literalOf(node)
    const isKey = literal !== undefined && looksLikeKey(literal.text, literal.followsHole)
    return isKey ? `spells the key '${literal.text}': only ${KEY_HOME} may` : undefined
  })
}

/** A script gets its keys by KEYS and ARGV. */
function luaFaults(path: string, text: string): string[] {
  return text.split('\n').flatMap((line, index) => {
    const literals = line.replace(/--.*$/, '').match(/'[^']*'|"[^"]*"/g) ?? []
    const key = literals.find((literal) => looksLikeKey(literal.slice(1, -1), true))
    return key === undefined ? [] : [`${path}:${index + 1} spells the key ${key}: scripts get theirs by KEYS or ARGV`]
  })
}

describe('in src', () => {
  const sources = filesIn('src', '.ts').map((path) => parse(path, textOf(path)))

  test('there is something to look at', () => {
    expect(sources.length).toBeGreaterThan(10)
    expect(KEY_FAMILIES).toEqual(expect.arrayContaining(['ctrl', 'dead', 'task', 'session', 'data:stream', 'worker']))
  })

  test('only cli and testing end the process, and they and one other file read the environment', () => {
    expect(sources.flatMap(processFaults)).toEqual([])
  })

  test('only cli prints', () => {
    expect(sources.flatMap(printFaults)).toEqual([])
  })

  test('only redis/keys.ts spells a key', () => {
    expect(sources.flatMap(keyFaults)).toEqual([])
    expect(filesIn('src', '.lua').flatMap((path) => luaFaults(path, textOf(path)))).toEqual([])
  })

  test('files and folders have kebab-case names', () => {
    const odd = [...filesIn('src', '.ts'), ...filesIn('src', '.lua')].filter(
      (path) => !/^[a-z0-9]+([-/][a-z0-9]+)*\.(ts|lua)$/.test(path),
    )
    expect(odd).toEqual([])
  })
})

describe('the rules bite', () => {
  const at = (text: string, path = 'src/store/some.ts') => parse(path, text)

  test.each([
    ['process.env.REDIS_URL', 'src/store/some.ts:1 uses process.env'],
    ["const { env } = globalThis.process\nglobalThis.process['exit'](1)", 'src/store/some.ts:2 uses process.exit'],
    ["import { env as e } from 'node:process'", 'src/store/some.ts:1 imports env'],
  ])('on the process: %s', (text, said) => {
    expect(processFaults(at(text))).toEqual([expect.stringContaining(said)])
    expect(processFaults(at(text, 'src/cli/some.ts'))).toEqual([])
    expect(processFaults(at('process.pid; process.hrtime(); // process.env'))).toEqual([])
  })

  test('on the file that reads the environment, if it does more', () => {
    const faults = processFaults(at('process.env\nprocess.exit(1)', ENVIRONMENT_HOME))
    expect(faults).toEqual([expect.stringContaining(`${ENVIRONMENT_HOME}:2 uses process.exit`)])
  })

  test('on what prints', () => {
    expect(printFaults(at('console.log(1)\nprocess.stdout.write("")'))).toHaveLength(2)
    expect(printFaults(at('console.log(1)', 'src/cli/some.ts'))).toEqual([])
    expect(printFaults(at('const text = "console.log"'))).toEqual([])
  })

  test.each([
    '`${prefix}:task:{${id}}`',
    '`${prefix}:workers`',
    "'queue:ctrl:a'",
    "prefix + ':ctrl:' + name",
    "'session:{' + id + '}'",
  ])('on a key: %s', (text) => {
    expect(keyFaults(at(text))).toEqual([expect.stringContaining('spells the key')])
    expect(keyFaults(at(text, KEY_HOME))).toEqual([])
  })

  test('but not on a mere word', () => {
    const texts = [
      "'task'",
      "'worker: gone'",
      '`${n} tasks: none`',
      "'byclaw:task:start'",
      '// queue:ctrl:a',
      "'queue'",
    ]
    expect(texts.flatMap((text) => keyFaults(at(text)))).toEqual([])
  })

  test('on a key in a script', () => {
    expect(
      luaFaults('some.lua', "local k = KEYS[1] .. ':task:{' -- fine\nreturn redis.call('GET', 'queue:x')"),
    ).toEqual([expect.stringContaining('some.lua:1'), expect.stringContaining('some.lua:2')])
    expect(luaFaults('some.lua', "-- 'queue:x'\nredis.call('GET', KEYS[1])")).toEqual([])
  })
})
