import { existsSync } from 'node:fs'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { CONNECTION_FLAGS, IGNORED_VARIABLES, WORKER_FLAGS } from '../../src/cli/worker-flags.ts'
import { parse, textOf } from '../ground/sources.ts'
import { command } from './support/command.ts'
import { byclawWorker } from './support/program.ts'

/** Options of `runWorker` that no text can express, that the launcher decides, or whose flag is still to come. */
const WITHOUT_FLAG = [...['worker', 'logger', 'plugins', 'pluginConfigurator', 'history'], 'handleSignals', 'pluginDir']

/** What stands for one option: Redis has many flags, the log a level. */
const IN_PIECES: Readonly<Record<string, string>> = {
  redis: 'redisUrl',
  retry: 'retryMaxAttempts',
  version: 'agentVersion',
}

function optionsOfRunWorker(): string[] {
  const path = 'src/worker/options.ts'
  const { tree } = parse(path, textOf(path))
  const found = tree.statements.find((node) => ts.isInterfaceDeclaration(node) && node.name.text === 'RunWorkerOptions')
  return found !== undefined && ts.isInterfaceDeclaration(found)
    ? found.members.map((member) => member.name?.getText(tree) ?? '')
    : []
}

describe('the table of flags', () => {
  test('has every option of runWorker that a text can express', () => {
    const known = new Set(WORKER_FLAGS.map(({ option }) => option))
    const options = optionsOfRunWorker()
    expect(options).toContain('maxConcurrency')
    const missing = options.filter((name) => !WITHOUT_FLAG.includes(name) && !known.has(IN_PIECES[name] ?? name))
    expect(missing).toEqual([])
  })

  test('names each option by its flag in camel case, and nothing twice', () => {
    for (const { option, flag } of WORKER_FLAGS) {
      const [name = ''] = flag.split(' ')
      expect(name.slice(2).replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())).toBe(option)
    }
    expect(new Set(WORKER_FLAGS.map(({ env }) => env)).size).toBe(WORKER_FLAGS.length)
    expect(new Set(WORKER_FLAGS.map(({ flag }) => flag)).size).toBe(WORKER_FLAGS.length)
  })

  test('is in the help of byclaw-worker, with variables', async () => {
    const { code, stdout, stderr } = await byclawWorker(['--help'])
    for (const { flag, env } of WORKER_FLAGS) {
      expect(stdout).toContain(flag)
      expect(stdout).toContain(`(${env})`)
    }
    for (const name of Object.keys(IGNORED_VARIABLES)) expect(stdout).toContain(`${name} is accepted and ignored`)
    expect(stdout).toMatch(/^Examples:\n {2}\$ byclaw-worker /m)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  })

  test.each(['send', 'tail', 'workers', 'tasks', 'dead list'])(
    'its connection is in the help of byclaw %s',
    async (name) => {
      const { code, stdout } = await command([...name.split(' '), '--help'])
      for (const { flag } of CONNECTION_FLAGS) expect(stdout).toContain(flag)
      expect(stdout).toContain('--json')
      expect(code).toBe(0)
    },
  )

  // The page is written in another piece of work; from then on the two are held together.
  const page = existsSync(new URL('../../README.md', import.meta.url)) ? textOf('README.md') : ''
  test.runIf(page.includes('--max-concurrency'))('is in the README, with variables', () => {
    const names = WORKER_FLAGS.flatMap(({ flag, env }) => [flag.split(' ')[0] ?? flag, env])
    expect(names.filter((name) => !page.includes(name))).toEqual([])
  })
})
