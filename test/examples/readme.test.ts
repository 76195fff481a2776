import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { HOOK_NAMES } from '../../src/agent/hooks.ts'
import { INTERCEPTOR_NAMES } from '../../src/agent/interceptor.ts'
import { GatewayWorker } from '../../src/agent/worker.ts'
import { WORKER_FLAGS } from '../../src/cli/worker-flags.ts'
import { GatewayClient } from '../../src/client/client.ts'
import { resolveClientOptions } from '../../src/client/options.ts'
import { GATEWAY_ERROR_CODES } from '../../src/errors.ts'
import { TestHarness } from '../../src/testing/harness.ts'
import { resolveWorkerOptions } from '../../src/worker/options.ts'
import { textOf } from '../ground/sources.ts'
import { compileBlocks } from './compile-blocks.ts'
import { blocks, membersOf, README, section, tableNames, tableRows, typesIn } from './readme-page.ts'
import { ROOT, startNode } from './run-node.ts'

const sorted = (names: Iterable<string>) => [...names].sort()

describe('blocks of code', () => {
  const examples = blocks().filter(({ mark }) => mark?.startsWith('example: '))

  test.each(examples)('line $line shows the file of its mark: $mark', ({ mark = '', text }) => {
    expect(text).toBe(textOf(mark.replace('example: ', '')))
  })

  test('some are marked, and no mark is misspelled', () => {
    expect(examples.length).toBeGreaterThanOrEqual(2)
    expect(README.match(/<!--/g)).toHaveLength(examples.length)
  })

  test('all others in TypeScript compile', { timeout: 60_000 }, () => {
    const others = blocks().filter(({ language, mark }) => language === 'ts' && mark === undefined)
    expect(others.length).toBeGreaterThan(3)
    expect(compileBlocks(others)).toEqual([])
  })

  test('every script of npm that is named exists', () => {
    const { scripts } = JSON.parse(textOf('package.json'))
    const named = [...README.matchAll(/npm run (?:-s )?([\w:]+)/g)].map(([, name]) => name)
    expect(named.length).toBeGreaterThan(3)
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named))
  })
})

describe('tables list exactly what there is', () => {
  test('codes of errors', () => {
    expect(sorted(tableNames('## Errors', 'code'))).toEqual(sorted(GATEWAY_ERROR_CODES))
  })

  test('types of events', () => {
    const path = 'src/protocol/event.ts'
    const types = [...typesIn(path, 'EventBody'), ...typesIn(path, 'GapEvent')]
    expect(sorted(tableNames('## Events', 'type'))).toEqual(sorted(types))
  })

  test('hooks of plugins, with what each gets', () => {
    expect(tableNames('### Hooks', 'hook')).toEqual([...HOOK_NAMES])
    const text = section('### Hooks')
    const facts = membersOf('src/agent/hooks.ts', 'TaskFacts')
    expect(facts.filter((name) => !new RegExp(`\\b${name}\\b`).test(text))).toEqual([])
    const stats = membersOf('src/agent/hooks.ts', 'HookStats')
    expect(text).toContain(`{ ${stats.join(', ')} }`)
  })

  test('interceptors of plugins', () => {
    const text = section('### Interceptors')
    expect(INTERCEPTOR_NAMES.filter((name) => !text.includes(`(\`${name}\`)`))).toEqual([])
  })

  test.each([
    ['### Options of runWorker', 'option', 'src/worker/options.ts', 'RunWorkerOptions'],
    ['### Options of GatewayClient', 'option', 'src/client/options.ts', 'GatewayClientOptions'],
    ['### subscribe', 'option', 'src/client/subscribe-options.ts', 'SubscribeOptions'],
    ['### What a task may touch', 'member', 'src/agent/context.ts', 'AgentContext'],
  ])('%s', (heading, headed, path, name) => {
    // An overloaded method is one member.
    expect(sorted(tableNames(heading, headed))).toEqual(sorted([...new Set(membersOf(path, name))]))
  })

  test('### sendMessage', () => {
    const own = membersOf('src/client/request.ts', 'MessageOptions')
    const members = [...own, ...membersOf('src/protocol/task-options.ts', 'TaskOptions')]
    expect(sorted(tableNames('### sendMessage', 'field'))).toEqual(sorted(members))
  })

  test('methods of the client, somewhere on the page', () => {
    const methods = Object.getOwnPropertyNames(GatewayClient.prototype).filter(
      (name) => !/^(constructor|prepare)$/.test(name),
    )
    expect(methods.length).toBeGreaterThan(8)
    expect(methods.filter((name) => !new RegExp(`\\b${name}\\(`).test(README))).toEqual([])
  })
})

describe('sections name all there is', () => {
  test('of a view', () => {
    const text = section('### The text as it stands')
    const members = [
      ...membersOf('src/client/fold.ts', 'SessionView'),
      ...membersOf('src/client/task-view.ts', 'TaskView').filter((name) => name !== 'marks'), // the reducer's own
      ...membersOf('src/client/text.ts', 'TextOptions'),
    ]
    expect(members.length).toBeGreaterThan(10)
    expect(members.filter((name) => !text.includes(`\`${name}\``))).toEqual([])
  })

  test('of a test harness, and of the tests’ sub-path', () => {
    const text = section('## Testing')
    const { constructor: _, ...members } = Object.getOwnPropertyDescriptors(TestHarness.prototype)
    const fields = ['client', 'redisUrl', 'keyPrefix']
    const names = [...Object.keys(members), ...fields, 'createTestHarness', 'startLocalRedis', 'waitFor']
    expect(names.length).toBeGreaterThan(9)
    expect(names.filter((name) => !new RegExp(`\`${name}\\b`).test(text))).toEqual([])
  })
})

describe('the programs have exactly the flags that the page lists', () => {
  /** The long flags that a program's help shows, without those for the connection if it is an operator's command. */
  async function flagsInHelp(program: string, words: readonly string[] = []): Promise<string[]> {
    const { code, stdout } = await startNode([`dist/cli/${program}.js`, ...words, '--help']).ended
    expect(code).toBe(0)
    const own = words.length === 0 ? stdout : stdout.split(/^Redis:$/m)[0]
    const flags = [...(own ?? '').matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(([, flag]) => flag ?? '')
    return sorted(flags.filter((flag) => flag !== '--help' && flag !== '--version'))
  }

  test('byclaw-worker, with their variables', async () => {
    const heading = '## byclaw-worker runs an agent'
    expect(sorted(tableNames(heading, 'flag'))).toEqual(await flagsInHelp('byclaw-worker'))
    const listed = tableRows(heading, 'flag').map(([flag, variable]) => [flag, variable].join(' '))
    const known = WORKER_FLAGS.map(({ flag, env }) => `\`${flag}\` \`${env}\``)
    expect(sorted(listed)).toEqual(sorted([...known, '`--dev` ', '`--watch` ']))
  })

  const commands = tableRows('## byclaw for operators', 'command').map(([command = '', , options = '']) => ({
    words: command
      .slice('`byclaw '.length, -1)
      .split(' ')
      .filter((word) => !/^[<[]/.test(word)),
    flags: [...options.matchAll(/--[\w-]+/g)].map(([flag]) => flag),
  }))

  test.each(commands)('byclaw $words', async ({ words, flags }) => {
    expect(await flagsInHelp('byclaw', words)).toEqual(sorted(flags))
  })

  test('byclaw has no other command', async () => {
    const { stdout } = await startNode(['dist/cli/byclaw.js', '--help']).ended
    const [, list = ''] = /^Commands:\n([\s\S]*?)\n\n/m.exec(stdout) ?? []
    const shown = [...list.matchAll(/^ {2}(\w+)/gm)].map(([, name]) => name ?? '')
    expect(sorted(new Set(commands.map(({ words }) => words[0] ?? '')))).toEqual(sorted(shown))
  })
})

describe('defaults are those of the source', () => {
  class Agent extends GatewayWorker {
    getCapabilities() {
      return ['agent']
    }

    processCommand() {
      return Promise.resolve()
    }
  }

  test.each([
    ['### Options of runWorker', resolveWorkerOptions({ workerClass: Agent })],
    ['### Options of GatewayClient', resolveClientOptions({})],
  ])('%s', (heading, resolved) => {
    const literals = tableRows(heading, 'option').flatMap(([name = '', given = '']) => {
      const literal = /^`(\d+|true|false|'\w+')`$/.exec(given)?.[1]
      return literal === undefined ? [] : [[name.slice(1, -1), JSON.parse(literal.replaceAll("'", '"'))]]
    })
    expect(literals.length).toBeGreaterThanOrEqual(2)
    expect(resolved).toMatchObject(Object.fromEntries(literals))
  })
})

describe('what it points at exists', () => {
  test('files', () => {
    const linked = [...README.matchAll(/\]\(([^)#:]+)\)/g)].map(([, path]) => path ?? '')
    const named = [...README.matchAll(/(?:examples|bench|src|test)\/[\w./-]*\w\.(?:ts|md|mjs)/g)].map(([path]) => path)
    expect([...linked, ...named].filter((path) => !existsSync(join(ROOT, path)))).toEqual([])
  })

  test('headings', () => {
    const anchors = [...README.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    )
    const linked = [...README.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor]) => anchor)
    expect(anchors).toEqual(expect.arrayContaining(linked))
  })

  test('rooms of the house: each has its place in the picture, and no other has', () => {
    const [picture = ''] = /^```\n[\s\S]*?^```/m.exec(section('## The house')) ?? []
    const rooms = readdirSync(join(ROOT, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory())
    const drawn = [...picture.matchAll(/\b(\w+)\//g)].map(([, name = '']) => name)
    expect(sorted(drawn)).toEqual(sorted(rooms.map(({ name }) => name)))
  })
})
