import { mkdir, symlink } from 'node:fs/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { PluginDir, PluginHouse, sayPlugin } from './support.ts'

vi.setConfig({ testTimeout: 90_000 })

/** A project in which the worker runs, with packages installed. */
async function project(files: Readonly<Record<string, string>>): Promise<PluginDir> {
  const dir = await PluginDir.with(files)
  const cwd = vi.spyOn(process, 'cwd').mockReturnValue(dir.path)
  onTestFinished(() => cwd.mockRestore())
  return dir
}

// Installed packages are imported by Node itself: without this library, which lies elsewhere in these tests.
const INSTALLED = [
  "export default globalThis.byclawTestDefine({ manifest: { pluginId: 'sayer', version: '3.0.0' },",
  '  registerAgentConfigs() {',
  "    const input = { '~standard': { version: 1, vendor: 'none', validate: (value) => ({ value }) } }",
  "    const say = { description: '', input, execute: () => 'package' }",
  "    return [{ agentId: 'agent', tools: { sayer_say: say } }]",
  '  } })',
].join('\n')

test('an installed package says in its package.json where its plugin is', async () => {
  const { definePlugin } = await import('../../../src/agent/plugin.ts')
  Object.assign(globalThis, { byclawTestDefine: definePlugin })
  await project({
    'node_modules/@acme/sayer/package.json': '{ "name": "x", "type": "module", "byclaw": { "plugin": "./dist/p.js" } }',
    'node_modules/@acme/sayer/dist/p.js': INSTALLED,
  })
  const house = new PluginHouse()
  const worker = await house.workWith(undefined, { plugins: ['@acme/sayer'] })
  expect(await house.say()).toBe('package')
  expect(worker.plugins.list()).toMatchObject([{ pluginId: 'sayer', version: '3.0.0', source: '@acme/sayer' }])
})

test('a path is watched, and so is a linked package in TypeScript', async () => {
  const dir = await project({
    'one/index.ts': sayPlugin("'one'"),
    'linked/main.ts': sayPlugin("'linked'", { id: 'linked' }),
    'linked/package.json': '{ "byclaw": { "plugin": "main.ts" } }',
  })
  await mkdir(dir.at('node_modules'))
  await symlink(dir.at('linked'), dir.at('node_modules/linked'))
  const house = new PluginHouse()
  const worker = await house.workWith(undefined, { plugins: ['./one', 'linked'] })
  expect(worker.plugins.list().map(({ pluginId }) => pluginId)).toEqual(['sayer', 'linked'])
  await dir.write('one/index.ts', sayPlugin("'two'"))
  await house.says('two')
})

test('what is not there, or is no plugin', async () => {
  await project({
    'node_modules/plain/package.json': '{ "name": "plain" }',
    'node_modules/broken/package.json': '{ "byclaw": { "plugin": 3 } }',
    'node_modules/throws/package.json': '{ "type": "module", "byclaw": { "plugin": "index.js" } }',
    'node_modules/throws/index.js': "\nthrow new Error('boom')",
  })
  const house = new PluginHouse()
  const start = (name: string) => house.workWith(undefined, { plugins: [name] })
  await expect(start('nix')).rejects.toThrow(/^plugin nix: there is no such package in or above .*; a path begins with/)
  await expect(start('./nix')).rejects.toThrow(/^plugin \.\/nix: there is no such file or folder/)
  await expect(start('plain')).rejects.toThrow('it is no plugin: its package.json has no "byclaw" field')
  await expect(start('broken')).rejects.toThrow('byclaw.plugin must be the path of a file')
  await expect(start('throws')).rejects.toThrow(/plugin throws: it threw while it was loaded: boom/)
  await expect(start('')).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
})
