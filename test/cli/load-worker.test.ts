import { resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { freshPrefix, testRedisUrl } from '../support/redis.ts'
import { byclawWorker, startByclawWorker } from './support/program.ts'
import { agentSource, COMMONJS_PACKAGE, MODULE_PACKAGE, plainAgent, project } from './support/project.ts'

/** The copy of this package that the launcher itself uses. */
const LAUNCHERS = new URL('../../dist/index.js', import.meta.url).href
const NOWHERE = ['--redis-url', 'redis://127.0.0.1:1', '--connect-timeout-ms', '1']

/** Runs the launcher to the point where the worker is loaded and made: then it misses its Redis. */
async function load(spec: string, cwd: string): Promise<{ code: number | null; said: string }> {
  const { code, stderr } = await byclawWorker(['--worker-class', spec, ...NOWHERE], { cwd })
  return { code, said: stderr }
}

const MISSES_REDIS = /^byclaw-worker: Redis at 127.0.0.1:1\/0 cannot be reached: .+\n$/
const LOADED = { code: 1, said: expect.stringMatching(MISSES_REDIS) }
const refused = (reason: string) => ({ code: 1, said: `byclaw-worker: ${reason} (GW_WORKER_NOT_LOADED)\n` })

describe('loads', () => {
  test.each([
    ['a TypeScript file and its export', './agent.ts#EchoAgent', 'agent.ts', agentSource()],
    ['the only worker class of a file', './agent.js', 'agent.js', `${plainAgent()}export const other = 1\n`],
    ['a file without ./', 'src/agent.mts', 'src/agent.mts', agentSource()],
    ['JavaScript', './agent.js#EchoAgent', 'agent.js', agentSource({ js: true })],
    [
      'a default export, and JavaScript by its name .mjs',
      './agent.mjs',
      'agent.mjs',
      agentSource({ js: true, export: 'export default' }),
    ],
    ['a path with a # in it', './C#/agent.js#EchoAgent', 'C#/agent.js', plainAgent()],
  ])('%s', async (_, spec, file, text) => {
    const cwd = await project({ [file]: text, 'package.json': MODULE_PACKAGE })
    expect(await load(spec, cwd)).toEqual(LOADED)
  })

  test('a class whose handler is a field of it, by its name and alone', async () => {
    const source = plainAgent().replace('async processCommand(command, context) {', 'processCommand = async () => {')
    const cwd = await project({ 'agent.mjs': source })
    expect(await load('./agent.mjs#EchoAgent', cwd)).toEqual(LOADED)
    expect(await load('./agent.mjs', cwd)).toEqual(LOADED)
  })

  test('the default export where there are several', async () => {
    const others = agentSource({ name: 'OtherAgent', js: true }).replace(/^import.*\n/, '')
    const cwd = await project({ 'agent.mjs': agentSource({ export: 'export default', js: true }) + others })
    expect(await load('./agent.mjs', cwd)).toEqual(LOADED)
  })

  test('CommonJS', async () => {
    const text = agentSource({ js: true, export: 'exports.EchoAgent =' }).replace(
      /^import .*/,
      "const { GatewayWorker } = require('byclaw-gateway-sdk')",
    )
    const cwd = await project({ 'agent.cjs': text })
    expect(await load('./agent.cjs#EchoAgent', cwd)).toEqual(LOADED)
  })

  test('CommonJS that TypeScript imports, and what that requires, whatever their comments say', async () => {
    const comment = '/*\nimport what you need\n*/\n'
    const cwd = await project({
      'agent.ts': `import { NAME } from './names.cjs'\n${agentSource().replace("'echo'", 'NAME')}`,
      'names.cjs': `${comment}exports.NAME = require('./name').NAME`,
      'name.js': `${comment}exports.NAME = 'echo'`,
    })
    expect(await load('./agent.ts', cwd)).toEqual(LOADED)
  })

  test('a package beside which a folder or a file without code has its name', async () => {
    const lib = { 'node_modules/agents/package.json': '{ "name": "agents", "type": "module", "exports": "./lib.js" }' }
    const files = { ...lib, 'node_modules/agents/lib.js': agentSource({ js: true }) }
    expect(await load('agents#EchoAgent', await project({ ...files, 'agents/index.ts': 'export {}' }))).toEqual(LOADED)
    expect(await load('agents#EchoAgent', await project({ ...files, agents: 'Ann, Bob' }))).toEqual(LOADED)
  })

  test('an export of a package, whatever its conditions', async () => {
    const cwd = await project({
      'node_modules/@acme/agents/package.json': JSON.stringify({
        name: '@acme/agents',
        type: 'module',
        exports: { './echo': { import: './lib.js' } },
      }),
      'node_modules/@acme/agents/lib.js': agentSource({ js: true }),
    })
    expect(await load('@acme/agents/echo#EchoAgent', cwd)).toEqual(LOADED)
  })

  test('what tsconfig.json says is heard, from the folder of the file', async () => {
    const cwd = await project({
      'app/tsconfig.json': '{ "compilerOptions": { "paths": { "#names": ["./names.ts"] } } }',
      'app/names.ts': 'export const NAME: string = "echo"',
      'app/agent.ts': `import { NAME } from '#names'\n${agentSource().replace("'echo'", 'NAME')}`,
    })
    expect(await load('./app/agent.ts', cwd)).toEqual(LOADED)
  })
})

// What `npm init -y` leaves behind: there tsx would take the file for CommonJS, and this package for a second one.
describe.each([
  ['says commonjs', { 'package.json': COMMONJS_PACKAGE }],
  ['does not exist', {}],
])('TypeScript where package.json %s', (_, files) => {
  test('is a module, shares this package with the launcher, may use what CommonJS offers, and is run', async () => {
    const text = `
import { readFileSync } from 'node:fs'
import { prompt } from './nested'
${agentSource()}
const launchers = await import(${JSON.stringify(LAUNCHERS)})
console.log(prompt(), __filename.endsWith('agent.ts'), require('node:path').sep, launchers.GatewayWorker === GatewayWorker)
console.log(readFileSync(__dirname + '/prompt.txt', 'utf8'))
`
    const nested = "import path from 'node:path'\nexport const prompt = (): string => path.basename(__dirname)\n"
    const cwd = await project({ ...files, 'app/agent.ts': text, 'app/nested.ts': nested, 'app/prompt.txt': 'Be kind' })
    const worker = startByclawWorker(['--worker-class', './app/agent.ts', '--redis-url', testRedisUrl()], {
      ...{ cwd, env: { BYAI_WORKER_KEY_PREFIX: freshPrefix() } },
    })
    await worker.says('worker is consuming')
    const { code, stdout, stderr } = await worker.end()
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n').slice(0, 2)).toEqual(['app true / true', 'Be kind'])
  })
})

describe('refuses in one clear line', () => {
  test('a path that leads nowhere', async () => {
    const cwd = await project({ 'agent.ts': agentSource() })
    expect(await load('./gone.ts#A', cwd)).toEqual(refused(`./gone.ts#A: there is no such file (${cwd}/gone.ts)`))
    expect(await load('./agent', cwd)).toEqual(
      refused(`./agent: there is no such file (${cwd}/agent); did you mean ./agent.ts?`),
    )
    expect(await load('gone', cwd)).toEqual(
      refused(`gone: there is neither such a file (${cwd}/gone) nor such a package in or above ${cwd}`),
    )
    expect(await load('.', cwd)).toEqual(refused(`.: ${cwd} is a folder; name a file in it`))
  })

  test.each(['C:\\agents\\agent.ts', 'https://host/agent.ts', 'data:text/javascript,export {}'])(
    'an address: %s',
    async (spec) => {
      const cwd = await project({ 'agent.ts': agentSource() })
      const { code, said } = await load(spec, cwd)
      expect(said).toBe(
        `byclaw-worker: ${spec}: there is neither such a file (${resolve(cwd, spec)}) nor such a package in or above ${cwd} (GW_WORKER_NOT_LOADED)\n`,
      )
      expect(code).toBe(1)
    },
  )

  test('a file of another machine', async () => {
    const { said } = await load('file://host/agent.ts', await project({ 'agent.ts': agentSource() }))
    expect(said).toMatch(/^byclaw-worker: file:\/\/host\/agent\.ts: .+ \(GW_WORKER_NOT_LOADED\)\n$/)
  })

  test('a folder beside which no package has its name', async () => {
    const cwd = await project({ 'agents/index.ts': agentSource() })
    const nothing = `there is neither such a file (${cwd}/agents) nor such a package in or above ${cwd}`
    expect(await load('agents#EchoAgent', cwd)).toEqual(
      refused(`agents#EchoAgent: ${cwd}/agents is a folder; name a file in it, and ${nothing}`),
    )
    expect(await load('./agents#EchoAgent', cwd)).toEqual(
      refused(`./agents#EchoAgent: ${cwd}/agents is a folder; name a file in it`),
    )
  })

  test('what is no program', async () => {
    const cwd = await project({ 'agent.py': '' })
    expect(await load('./agent.py', cwd)).toEqual(
      refused(`./agent.py: ${cwd}/agent.py is no code; only .ts .mts .tsx .js .mjs .cjs can be loaded`),
    )
  })

  test('an export that is missing or no worker, and says which there are', async () => {
    const cwd = await project({
      'agent.mjs': `${plainAgent()}${agentSource({ name: 'Second', js: true }).replace(/^import.*\n/, '')}
export class Plain {}
export const NAME = 'x'`,
      'empty.mjs': 'export {}',
      'plain.mjs': 'export class Plain {}\nexport default 1',
    })
    expect(await load('./agent.mjs#Weather', cwd)).toEqual(
      refused("./agent.mjs#Weather: there is no export 'Weather'; worker classes in it: EchoAgent, Second"),
    )
    expect(await load('./agent.mjs#Plain', cwd)).toEqual(
      refused(
        "./agent.mjs#Plain: export 'Plain' is no class that extends GatewayWorker; worker classes in it: EchoAgent, Second",
      ),
    )
    expect(await load('./agent.mjs', cwd)).toEqual(
      refused('./agent.mjs: several worker classes are exported, add one as #Name: EchoAgent, Second'),
    )
    expect(await load('./plain.mjs', cwd)).toEqual(
      refused('./plain.mjs: no class that extends GatewayWorker is exported (exported: Plain, default)'),
    )
    expect(await load('./empty.mjs', cwd)).toEqual(
      refused('./empty.mjs: no class that extends GatewayWorker is exported (nothing is exported)'),
    )
  })

  test('a syntax error, with file and line', async () => {
    const cwd = await project({
      'agent.ts': `${agentSource()}\nconst a: number = }\n`,
      'agent.mjs': `${agentSource({ js: true })}\nconst a = }\n`,
      'package.json': COMMONJS_PACKAGE,
      'agent.js': agentSource({ js: true }),
    })
    expect(await load('./agent.ts', cwd)).toEqual(
      refused(`./agent.ts: syntax error: Unexpected "}" (${cwd}/agent.ts:7:19)`),
    )
    expect(await load('./agent.mjs', cwd)).toEqual(
      refused(`./agent.mjs: syntax error: Unexpected token '}' (${cwd}/agent.mjs:7)`),
    )
    const inCommonJs = await load('./agent.js', cwd)
    expect(inCommonJs.said).toContain(
      `./agent.js: syntax error: Cannot use import statement outside a module (${cwd}/agent.js:1); call it .mjs, or set`,
    )
  })

  test('an import that leads nowhere', async () => {
    const cwd = await project({
      'agent.ts': "import 'gone'",
      'named.ts': "import { Gone } from 'byclaw-gateway-sdk'\nGone()",
    })
    expect(await load('./agent.ts', cwd)).toEqual(
      refused(`./agent.ts: Cannot find package 'gone' imported from ${cwd}/agent.ts`),
    )
    expect((await load('./named.ts', cwd)).said).toContain("does not provide an export named 'Gone'")
  })

  test('a module that throws, with its message and the place', async () => {
    const cwd = await project({ 'agent.ts': "interface A { a: 1 }\n\nthrow new Error('OPENAI_API_KEY\\nis missing')" })
    expect(await load('./agent.ts', cwd)).toEqual(
      refused(`./agent.ts: it threw while it was loaded: OPENAI_API_KEY is missing (${cwd}/agent.ts:3:7)`),
    )
  })

  test('a constructor that throws', async () => {
    const text = agentSource().replace('getCap', "constructor() { super(); throw new Error('no key') }\n  getCap")
    const cwd = await project({ 'agent.ts': text })
    expect(await load('./agent.ts', cwd)).toEqual(
      refused(`./agent.ts: the constructor of EchoAgent threw: no key (${cwd}/agent.ts:3:34)`),
    )
  })
})
