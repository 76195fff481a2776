import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, open, rename, symlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { InboxWriter } from '../../../src/store/inbox.ts'
import { PluginBoard } from '../../../src/store/plugin-board.ts'
import { openStore } from '../../redis/harness.ts'
import { Gate } from '../../worker/harness.ts'
import { eventually, PluginDir, PluginHouse, sayPlugin } from './support.ts'

vi.setConfig({ testTimeout: 90_000 })

describe('what a plugin in a folder may be made of', () => {
  test('a single file, with types', async () => {
    const dir = await PluginDir.with({ 'sayer.ts': sayPlugin('word as string', { head: "const word: string = 'hi'" }) })
    const house = new PluginHouse()
    const worker = await house.workWith(dir)
    expect(await house.say()).toBe('hi')
    const [plugin] = worker.plugins.list()
    expect(plugin).toMatchObject({ pluginId: 'sayer', source: dir.at('sayer.ts') })
    expect(plugin?.version).toMatch(/^1\.0\.0\+[0-9a-f]{12}$/)
  })

  test('a folder with its own imports, JSON, texts, packages and places', async () => {
    const head = [
      "import { readFileSync } from 'node:fs'",
      "import { join } from 'node:path'",
      "import data from './data.json'",
      "import text from './prompts/a.txt'",
      "import { dep } from 'own-dependency'",
      "import { shared } from '../_shared/util.ts'",
      "const read = readFileSync(new URL('./prompts/b.txt', import.meta.url), 'utf8')",
      "const again = readFileSync(join(import.meta.dirname, 'prompts/b.txt'), 'utf8')",
    ].join('\n')
    const dir = await PluginDir.with({
      'sayer/src/main.ts': sayPlugin('[data.x, text, dep, shared(), read, again].join()', { head }),
      'sayer/package.json': '{ "name": "x", "byclaw": { "plugin": "./src/main.ts" } }',
      'sayer/src/data.json': '{ "x": 1 }',
      'sayer/src/prompts/a.txt': 'a',
      'sayer/src/prompts/b.txt': 'b',
      'sayer/src/_shared.ts': '',
      'sayer/_shared/util.ts': "export const shared = () => 's'",
      'sayer/node_modules/own-dependency/package.json': '{ "name": "own-dependency", "main": "index.js" }',
      'sayer/node_modules/own-dependency/index.js':
        "const fs = require('fs'); exports.dep = fs.readFileSync(__dirname + '/d.txt', 'utf8')",
      'sayer/node_modules/own-dependency/d.txt': 'd',
    })
    const house = new PluginHouse()
    await house.workWith(dir)
    expect(await house.say()).toBe('1,a,d,s,b,b')
    // Read, not imported.
    await dir.write('sayer/src/prompts/b.txt', 'B')
    await house.says('1,a,d,s,B,B')
    await dir.write('sayer/_shared/util.ts', "export const shared = () => 'S'")
    await house.says('1,a,d,S,B,B')
    await dir.write('sayer/src/data.json', '{ "x": 2 }')
    await house.says('2,a,d,S,B,B')
  })

  test("a plugin's own zod goes before the worker's, wherever in its folder its code lies", async () => {
    const dir = await PluginDir.with({
      'sayer/src/main.ts': sayPlugin('whose', { head: "import { whose } from 'zod'" }).replace(
        "import { z } from 'zod'",
        "import { z } from '../zod.ts'",
      ),
      'sayer/zod.ts': "export const z = { object: () => ({ '~standard': { validate: (value) => ({ value }) } }) }",
      'sayer/package.json': '{ "byclaw": { "plugin": "./src/main.ts" } }',
      'sayer/node_modules/zod/package.json': '{ "name": "zod", "main": "index.js" }',
      'sayer/node_modules/zod/index.js': "exports.whose = 'its own'",
    })
    const house = new PluginHouse()
    await house.workWith(dir)
    expect(await house.say()).toBe('its own')
  })

  test('a package that is not to be bundled is loaded by Node', async () => {
    const dir = await PluginDir.with({
      'sayer/index.ts': sayPlugin('native()', { head: "import { native } from 'native-code'" }),
      'sayer/package.json': '{ "byclaw": { "plugin": "./index.ts", "external": ["native-code"] } }',
      'sayer/node_modules/native-code/package.json': '{ "name": "native-code", "main": "index.js" }',
      'sayer/node_modules/native-code/index.js': 'exports.native = () => module.id === __filename && __filename',
    })
    const house = new PluginHouse()
    await house.workWith(dir)
    expect(await house.say()).toBe(dir.at('sayer/node_modules/native-code/index.js'))
  })

  test('a pipe or a socket that lies beside its code is none of its files', async () => {
    const dir = await PluginDir.with({ 'sayer/index.ts': sayPlugin("'old'") })
    await promisify(execFile)('mkfifo', [dir.at('sayer/pipe')])
    const server = createServer().listen(dir.at('sayer/socket'))
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    await symlink('pipe', dir.at('sayer/link'))
    const house = new PluginHouse()
    const worker = await house.workWith(dir)
    expect(await house.say()).toBe('old')
    await dir.write('sayer/index.ts', sayPlugin("'new'"))
    await house.says('new')
    expect(house.errors).toEqual([])
    await worker.stop()
  })

  test('a class, and CommonJS', async () => {
    const source = [
      "const { Plugin, tool } = require('byclaw-gateway-sdk')",
      "const { z } = require('zod')",
      'module.exports = class Sayer extends Plugin {',
      "  manifest = { pluginId: 'sayer', version: '1.0.0' }",
      '  registerAgentConfigs() {',
      "    const say = tool({ description: '', input: z.object({}), execute: () => __filename })",
      "    return [{ agentId: 'agent', tools: { sayer_say: say } }]",
      '  }',
      '}',
    ].join('\n')
    const dir = await PluginDir.with({ 'sayer.cjs': source })
    const house = new PluginHouse()
    await house.workWith(dir)
    expect(await house.say()).toBe(dir.at('sayer.cjs'))
  })

  test('what is no plugin is passed over', async () => {
    const dir = await PluginDir.with({
      'sayer.ts': sayPlugin("'hi'"),
      'README.md': '# Plugins',
      '_shared/util.ts': 'export {}',
      '.hidden/index.ts': 'throw 1',
      'sayer.test.ts': 'throw 1',
      'types.d.ts': 'declare const x: 1',
    })
    const house = new PluginHouse()
    const worker = await house.workWith(dir)
    expect(worker.plugins.list()).toHaveLength(1)
  })
})

describe('a plugin that cannot be used', () => {
  const SHARED = "import { word } from './word.ts'"

  test.each([
    ['a syntax error', 'export const word =\n\n  let 3', /syntax error: .*word\.ts:3:\d+\)/],
    [
      'a throw while it is loaded',
      "export const word = 'x'\nnull.x",
      /it threw while it was loaded: .*word\.ts:2:\d+\)/,
    ],
    [
      'an import that is not there',
      "export { word } from './nix.ts'",
      /Could not resolve "\.\/nix\.ts" \(.*word\.ts:1:\d+\)/,
    ],
    [
      'a name that this library lacks',
      "import { nix } from 'byclaw-gateway-sdk'\nexport const word = nix",
      /No matching export in "byclaw-gateway-sdk" for import "nix" \(.*word\.ts:1:\d+\)/,
    ],
    ['a top-level await', "export const word = await 'x'", /no await may stand at the top level.*word\.ts:1:\d+\)/],
  ])('%s leaves the old one in place, with one message', async (_, text, said) => {
    const dir = await PluginDir.with({
      'sayer/index.ts': sayPlugin('word', { head: SHARED }),
      'sayer/word.ts': "export const word = 'old'",
    })
    const house = new PluginHouse()
    const worker = await house.workWith(dir)
    await dir.write('sayer/word.ts', text)
    expect(await house.error()).toMatch(said)
    expect(await house.say()).toBe('old')
    expect(worker.plugins.list()).toHaveLength(1)
    await dir.write('sayer/word.ts', "export const word = 'new'")
    await house.says('new')
    expect(house.errors).toEqual([])
  })

  test.each([
    [
      'a start-up that throws',
      "onWorkerStartup() {\n throw new Error('no database') }",
      /no database.*index\.ts:\d+:\d+\)/,
    ],
    ['a time that is wrong', 'hookTimeoutMs: -1', /hookTimeoutMs/],
    ['a hook that is no function', 'onUnload: 3', /onUnload: must be a function/],
  ])('%s', async (_, body, said) => {
    const dir = await PluginDir.with({ 'sayer/index.ts': sayPlugin("'old'") })
    const house = new PluginHouse()
    await house.workWith(dir)
    await dir.write('sayer/index.ts', sayPlugin("'new'", { body }))
    expect(await house.error()).toMatch(said)
    expect(await house.say()).toBe('old')
  })

  test('no default export, or one that is something else', async () => {
    const dir = await PluginDir.with({ 'sayer.ts': sayPlugin("'old'") })
    const house = new PluginHouse()
    await house.workWith(dir)
    await dir.write('sayer.ts', sayPlugin("'new'").replace('export default', 'export const plugin ='))
    expect(await house.error()).toMatch(/the default export must be .*; it is nothing; it exports plugin/)
    await dir.write('sayer.ts', 'export default 3')
    expect(await house.error()).toMatch(/it is something else \(number\)/)
  })

  test('a plain object will do, also of a CommonJS file, but not any', async () => {
    const plain = sayPlugin("'plain'").replace('definePlugin({', '({')
    const script = plain
      .replace('export default', 'module.exports =')
      .replace(/import (.*) from ('.*')/g, 'const $1 = require($2)')
    for (const [name, text] of [
      ['sayer.ts', plain],
      ['sayer.cjs', script],
    ] as const) {
      const house = new PluginHouse()
      await house.workWith(await PluginDir.with({ [name]: text }))
      expect(await house.say()).toBe('plain')
    }
    const dir = await PluginDir.with({ 'sayer.cjs': "module.exports = { name: 'no plugin' }" })
    await expect(new PluginHouse().workWith(dir)).rejects.toThrow(/the default export must be .*; it is something else/)
  })

  test('an import outside of its folder that comes late, or is mended, is noticed', async () => {
    const dir = await PluginDir.with({ 'sayer/index.ts': sayPlugin("'old'") })
    const house = new PluginHouse()
    await house.workWith(dir)
    await dir.write('sayer/index.ts', sayPlugin('word', { head: "import { word } from '../_shared/word.ts'" }))
    expect(await house.error()).toContain('Could not resolve "../_shared/word.ts"')
    await dir.write('_shared/word.ts', 'export const word =')
    expect(await house.error()).toMatch(/syntax error: .*word\.ts:1:\d+\)/)
    await dir.write('_shared/word.ts', "export const word = 'new'")
    await house.says('new')
  })

  test('an import from elsewhere that comes late is found within the time of a look', async () => {
    const elsewhere = await PluginDir.with({})
    const dir = await PluginDir.with({ 'sayer/index.ts': sayPlugin("'old'") })
    const house = new PluginHouse()
    await house.workWith(dir, { pluginPollMs: 200 })
    await dir.write('sayer/index.ts', sayPlugin('word', { head: `import { word } from '${elsewhere.at('word.ts')}'` }))
    expect(await house.error()).toContain('Could not resolve')
    await elsewhere.write('word.ts', "export const word = 'new'")
    await house.says('new')
    expect(house.errors).toEqual([])
  })

  test('two of one id: the first stays', async () => {
    const dir = await PluginDir.with({ 'a.ts': sayPlugin("'a'") })
    const house = new PluginHouse()
    await house.workWith(dir)
    await dir.write('b.ts', sayPlugin("'b'"))
    expect(await house.error()).toContain(`its id 'sayer' is that of the plugin in ${dir.at('a.ts')}`)
    expect(await house.say()).toBe('a')
  })

  test('a link that leads to itself: said once, and with it the trouble goes', async () => {
    const dir = await PluginDir.with({ 'sayer/index.ts': sayPlugin("'old'") })
    const house = new PluginHouse()
    const worker = await house.workWith(dir, { pluginPollMs: 50 })
    await symlink('loop', dir.at('sayer/loop'))
    expect(await house.error()).toMatch(/the one from before stays in use: plugin .*sayer: ELOOP/)
    const reloaded = async () => (await house.client().reloadPlugins())[0]?.plugins[0]?.status
    expect(await reloaded()).toBe('failed')
    expect(await house.say()).toBe('old')
    expect(house.errors).toEqual([])
    await dir.remove('sayer/loop')
    await dir.write('sayer/index.ts', sayPlugin("'new'"))
    await house.says('new')
    expect(await reloaded()).toBe('reloaded')
    await symlink('loop', dir.at('sayer/loop'))
    await house.error()
    await worker.stop()
  })

  test('links that lead back into the folder are passed over and told once, and what they lead to is loaded once', async () => {
    const dir = await PluginDir.with({
      'sayer/index.ts': sayPlugin("'old'", { head: 'globalThis.sayerRan = (globalThis.sayerRan ?? 0) + 1' }),
      'sayer/a/text.txt': 'a',
      'sayer/b/text.txt': 'b',
    })
    const ran = () => (globalThis as { sayerRan?: number }).sayerRan
    onTestFinished(() => void Reflect.deleteProperty(globalThis, 'sayerRan'))
    const inside = [
      ['sayer/itself', '.'],
      ['sayer/again', '.'],
      ['sayer/a/above', '../../..'],
      ['sayer/a/b', '../b'],
      ['sayer/b/a', '../a'],
    ] as const
    const beside = [
      ['all', '.'],
      ['around', '..'],
      ['zayer', 'sayer'],
    ] as const
    for (const [link, target] of [...inside, ...beside]) await symlink(target, dir.at(link))
    const house = new PluginHouse()
    const worker = await house.workWith(dir, { pluginPollMs: 50 })
    expect(worker.plugins.list()).toHaveLength(1)
    expect(ran()).toBe(1)
    const told = () => house.logger.lines.filter(({ level, fields }) => level === 'warn' && 'link' in fields)
    const links = [...beside, ...inside].map(([link]) => dir.at(link))
    expect(
      told()
        .map(({ fields }) => fields['link'])
        .sort(),
    ).toEqual(links.sort())
    expect(new Set(told().map(({ message }) => message))).toEqual(
      new Set(['a link leads back into the folder of plugins and is passed over']),
    )
    await dir.write('sayer/index.ts', sayPlugin("'new'"))
    await house.says('new')
    await symlink('sayer', dir.at('yayer'))
    await eventually(() => told().some(({ fields }) => fields['link'] === dir.at('yayer')))
    expect(told()).toHaveLength(links.length + 1)
    expect(house.errors).toEqual([])
    await worker.stop()
  })

  test('keeps a worker from starting, and nothing stays open', async () => {
    const dir = await PluginDir.with({ 'sayer.ts': 'let 3' })
    const house = new PluginHouse()
    await expect(house.workWith(dir)).rejects.toMatchObject({ code: 'GW_PLUGIN_NOT_LOADED' })
    await expect(house.workWith(dir)).rejects.toThrow(/sayer\.ts:1:\d+\)/)
    await expect(house.work(() => 1, { pluginDir: dir.at('nix') })).rejects.toThrow(
      'pluginDir is invalid: there is no such folder',
    )
    await dir.remove('sayer.ts')
    await dir.write('empty/README.md', '')
    await expect(house.workWith(dir)).rejects.toThrow(/empty: the folder needs a package\.json .* or an index\.ts/)
    await dir.write('empty/package.json', '{ "byclaw": { "plugin": "./nix.ts" } }')
    await expect(house.workWith(dir)).rejects.toThrow(
      "byclaw.plugin in package.json names './nix.ts', and there is no such file",
    )
  })
})

describe('while tasks run', () => {
  test('a task keeps what it started with, the next one has the new one, and the old one is unloaded after its last task', async () => {
    const body = 'onUnload() { globalThis.byclawTestUnloaded = (globalThis.byclawTestUnloaded ?? 0) + 1 }'
    const dir = await PluginDir.with({ 'sayer.ts': sayPlugin("'old'", { body }) })
    const house = new PluginHouse()
    const gate = new Gate()
    const worker = await house.work(
      async (command, context) => {
        if (command.content === 'wait') await gate.pass()
        return [await context.callTool('sayer_say', {}), context.pluginVersion('sayer')]
      },
      { pluginDir: dir.path },
    )
    const client = house.client()
    const first = client.ask({ targetAgentType: 'agent', sessionId: 'a', content: 'wait' })
    await gate.reached(1)
    const before = worker.plugins.list()[0]?.version
    await dir.write('sayer.ts', sayPlugin("'new'", { version: '2.0.0' }))
    await eventually(() => worker.plugins.list()[0]?.version !== before)
    const after = worker.plugins.list()[0]?.version
    const second = await client.ask({ targetAgentType: 'agent', sessionId: 'b', content: 'go' })
    expect(second.data).toEqual(['new', after])
    expect(globalThis).not.toHaveProperty('byclawTestUnloaded')
    gate.open()
    expect((await first).data).toEqual(['old', before])
    await eventually(() => 'byclawTestUnloaded' in globalThis)
    expect(globalThis).toHaveProperty('byclawTestUnloaded', 1)
  })

  test('a folder that is removed is unloaded, one that comes is taken', async () => {
    const dir = await PluginDir.with({
      'sayer/index.js': sayPlugin("'one'"),
      'other.mjs': sayPlugin("'x'", { id: 'other' }),
    })
    const house = new PluginHouse()
    const worker = await house.workWith(dir)
    const ids = () => worker.plugins.list().map(({ pluginId }) => pluginId)
    expect(ids().sort()).toEqual(['other', 'sayer'])
    await dir.remove('sayer')
    await eventually(() => ids().length === 1)
    expect(await house.say()).toContain("there is no tool 'sayer_say'")
    await dir.write('again/index.ts', sayPlugin("'two'"))
    await house.says('two')
    await dir.rename('again', 'moved')
    await eventually(() => worker.plugins.list().some(({ source }) => source === dir.at('moved')))
    expect(await house.say()).toBe('two')
  })

  test('a plugin that changes its id takes the place of the former one', async () => {
    const dir = await PluginDir.with({ 'sayer.ts': sayPlugin("'one'", { id: 'former' }) })
    const house = new PluginHouse()
    const worker = await house.workWith(dir)
    await dir.write('sayer.ts', sayPlugin("'two'"))
    await house.says('two')
    await eventually(() => worker.plugins.list().length === 1)
  })

  test('a plugin that changes its id may keep the names of its tools', async () => {
    const named = (id: string, text: string) => sayPlugin(text, { id }).replaceAll(`${id}_say`, 'sayer_say')
    const dir = await PluginDir.with({ 'sayer.ts': named('former', "'one'") })
    const house = new PluginHouse()
    const worker = await house.workWith(dir)
    expect(await house.say()).toBe('one')
    await dir.write('sayer.ts', named('later', "'two'"))
    await house.says('two')
    expect(worker.plugins.list().map(({ pluginId }) => pluginId)).toEqual(['later'])
  })

  test('what was refused for the sake of another is taken when that has gone', async () => {
    const dir = await PluginDir.with({ 'a.ts': sayPlugin("'a'") })
    const house = new PluginHouse()
    await house.workWith(dir)
    await dir.write('b.ts', sayPlugin("'b'"))
    expect(await house.error()).toContain("its id 'sayer' is that of the plugin in")
    await dir.remove('a.ts')
    await house.says('b')
    await dir.rename('b.ts', 'c.ts')
    await house.says('b')
  })

  test('a file that is written in pieces is read when it is whole', async () => {
    const dir = await PluginDir.with({ 'sayer.ts': sayPlugin("'old'") })
    const house = new PluginHouse()
    await house.workWith(dir)
    const text = sayPlugin("'whole'", { head: `/* ${'x'.repeat(4_000)} */` })
    const file = await open(dir.at('sayer.ts'), 'w')
    await file.close()
    for (let at = 0; at < text.length; at += 100) await appendFile(dir.at('sayer.ts'), text.slice(at, at + 100))
    await house.says('whole')
    expect(house.errors).toEqual([])
  })

  test('a plugin that hangs in its start holds up no stop', async () => {
    const dir = await PluginDir.with({ 'sayer.ts': sayPlugin("'old'") })
    const house = new PluginHouse()
    const worker = await house.workWith(dir)
    const body = 'onWorkerStartup() { globalThis.byclawTestHangs = true; return new Promise(() => undefined) }'
    await dir.write('sayer.ts', sayPlugin("'new'", { body }))
    await eventually(() => 'byclawTestHangs' in globalThis)
    const began = performance.now()
    await worker.stop()
    expect(performance.now() - began).toBeLessThan(10_000) // a start may take 30 s
    expect(house.errors).toEqual([])
  })

  test('a file that is written without a pause keeps no other plugin waiting', async () => {
    const dir = await PluginDir.with({
      'sayer.ts': sayPlugin("'one'"),
      'busy/index.ts': sayPlugin('0', { id: 'busy' }),
    })
    const house = new PluginHouse()
    const worker = await house.workWith(dir)
    const began = Date.now()
    let lines = 0
    const writing = setInterval(() => void dir.write('busy/notes.txt', `${lines++}`), 20)
    onTestFinished(() => clearInterval(writing))
    await eventually(() => lines > 20)
    await dir.write('sayer.ts', sayPlugin("'two'"))
    await house.says('two')
    expect(await house.error()).toContain('its files change without a pause')
    clearInterval(writing)
    await eventually(() =>
      worker.plugins.list().every(({ pluginId, loadedAt }) => pluginId !== 'busy' || loadedAt > began),
    )
  })

  test('a plugin that writes into its own folder is not loaded for ever', async () => {
    const body = [
      'onWorkerStartup() {',
      "  writeFileSync(new URL('./cache.json', import.meta.url), String(Math.random()))",
      '}',
    ].join('\n')
    const head = "import { writeFileSync } from 'node:fs'"
    const dir = await PluginDir.with({ 'sayer/index.ts': sayPlugin("'one'", { head, body }) })
    const house = new PluginHouse()
    await house.workWith(dir)
    expect(await house.error()).toContain('files beside its code change again and again')
    const before = house.logger.lines.filter(({ message }) => message === 'plugin replaced').length
    expect(before).toBeLessThan(10)
    await dir.write('sayer/index.ts', sayPlugin("'two'"))
    await house.says('two')
  })

  test('an order as soon as the plugins are listed is answered, though their worker is still about to start', async () => {
    const dir = await PluginDir.with({ 'sayer.ts': sayPlugin("'one'") })
    const house = new PluginHouse()
    const { redis } = openStore(house.url)
    const post = PluginBoard.prototype.post
    const spy = vi.spyOn(PluginBoard.prototype, 'post').mockImplementationOnce(async function (
      this: PluginBoard,
      ...args
    ) {
      await post.apply(this, args)
      await new InboxWriter(redis, house.keys).reloadPlugins(args[0], { requestId: 'r', pluginId: 'sayer' })
    })
    onTestFinished(() => spy.mockRestore())
    await house.workWith(dir, { workerId: 'w' })
    const board = new PluginBoard(redis, house.keys)
    await eventually(async () => (await board.answers('r')).has('w'))
  })

  test('an order while the folder is not there is answered, and what was in use stays', async () => {
    const dir = await PluginDir.with({ 'sayer.ts': sayPlugin("'one'") })
    const house = new PluginHouse()
    await house.workWith(dir, { pluginPollMs: 100 })
    await rename(dir.path, `${dir.path}.away`)
    const [answer] = await house.client().reloadPlugins({ timeoutMs: 15_000 })
    await rename(`${dir.path}.away`, dir.path)
    expect(answer).toMatchObject({
      status: 'failed',
      plugins: [{ pluginId: 'sayer', error: expect.stringContaining('the folder of plugins is not there') }],
    })
    expect(await house.say()).toBe('one')
    await dir.write('sayer.ts', sayPlugin("'two'"))
    await house.says('two')
  })

  test('a touch without a change loads nothing', async () => {
    const dir = await PluginDir.with({ 'sayer.ts': sayPlugin("'old'"), 'other.ts': sayPlugin("'x'", { id: 'other' }) })
    const house = new PluginHouse()
    const worker = await house.workWith(dir)
    const loadedAt = (id: string) => worker.plugins.list().find(({ pluginId }) => pluginId === id)?.loadedAt
    const [sayer, other] = [loadedAt('sayer'), loadedAt('other')]
    await dir.write('sayer.ts', sayPlugin("'old'"))
    // One after the other: when the later change is done, so is the touch.
    await dir.write('other.ts', sayPlugin("'y'", { id: 'other' }))
    await eventually(() => loadedAt('other') !== other)
    expect(loadedAt('sayer')).toBe(sayer)
  })

  test('without any word of the system, a look from time to time finds the change', async () => {
    const dir = await PluginDir.with({ 'sayer.ts': sayPlugin("'old'") })
    const house = new PluginHouse()
    await house.workWith(dir, { pluginPollMs: 50 })
    // The whole folder is swapped: what was watched is not there any more.
    const other = await PluginDir.with({ 'sayer.ts': sayPlugin("'new'") })
    await rename(dir.path, `${dir.path}.old`)
    await rename(other.path, dir.path)
    await house.says('new')
    expect(house.errors).toEqual([])
    await rename(`${dir.path}.old`, other.path)
  })
})
