import { describe, expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { PluginDir, PluginHouse, sayPlugin } from '../plugins/loader/support.ts'
import { command } from './support/command.ts'
import { startByclawWorker } from './support/program.ts'
import { agentSource, project } from './support/project.ts'

/** `byclaw plugins …` on the Redis of a house. */
async function plugins(house: PluginHouse, ...args: string[]) {
  return command(['plugins', ...args, '--redis-url', house.url, '--key-prefix', house.prefix])
}

const lines = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

describe('two workers, one folder each', { timeout: 120_000 }, () => {
  async function fleet() {
    const [one, two] = [
      await PluginDir.with({ 'sayer.ts': sayPlugin("'one'") }),
      await PluginDir.with({ 'sayer.ts': sayPlugin("'one'"), 'other.ts': sayPlugin("'x'", { id: 'other' }) }),
    ]
    const house = new PluginHouse()
    await house.workWith(one, { workerId: 'w-1' })
    await house.workWith(two, { workerId: 'w-2' })
    // One without plugins, and one that has them in code.
    await house.work(() => 1, { workerId: 'w-3' })
    const { definePlugin } = await import('../../src/agent/plugin.ts')
    const inCode = definePlugin({ manifest: { pluginId: 'in-code', version: '1.0.0' } })
    await house.work(() => 1, { workerId: 'w-4', plugins: [inCode] })
    return { house, one, two }
  }

  test('list shows who has what; the same source has the same version on both', async () => {
    const { house, one } = await fleet()
    const { code, stdout } = await plugins(house, 'list', '--json')
    expect(code).toBe(0)
    const rows = lines(stdout)
    expect(rows.map(({ workerId, pluginId, state }) => [workerId, pluginId, state].join())).toEqual([
      ...['w-1,sayer,active', 'w-2,other,active', 'w-2,sayer,active', 'w-4,in-code,active'],
    ])
    expect(rows[0]).toMatchObject({ source: one.at('sayer.ts'), error: null, version: rows[2].version })
    const table = await plugins(house, 'list')
    expect(table.stdout).toMatch(/^PLUGIN +WORKER +STATE +VERSION/)
    expect(table.stdout).toMatch(/in-code +w-4 +active +1\.0\.0 .* code/)
  })

  test('reload reaches all, is acknowledged by each, and fails when one fails', async () => {
    const { house, two } = await fleet()
    const done = await plugins(house, 'reload', '--json')
    expect(done.code).toBe(0)
    expect(lines(done.stdout)).toMatchObject([
      { workerId: 'w-1', status: 'done', plugins: [{ pluginId: 'sayer', status: 'reloaded' }] },
      { workerId: 'w-2', status: 'done', plugins: [{ pluginId: 'other' }, { pluginId: 'sayer' }] },
      { workerId: 'w-4', status: 'done', plugins: [] },
    ])
    const single = await plugins(house, 'reload', 'other')
    expect(single.code).toBe(0)
    expect(single.stdout).toMatch(/w-2 +other +reloaded +1\.0\.0\+[0-9a-f]+/)
    expect(single.stdout).not.toContain('w-1')
    const nobody = await plugins(house, 'reload', 'nix')
    expect(nobody).toMatchObject({ code: 1, stderr: "no live worker has a plugin 'nix'\n" })
    const code = await plugins(house, 'reload', 'in-code', '--json')
    expect(lines(code.stdout)[0].plugins).toMatchObject([{ status: 'not-reloadable', version: '1.0.0' }])

    await two.write('sayer.ts', 'let 3')
    const failed = await plugins(house, 'reload', 'sayer', '--json')
    expect(failed.code).toBe(1)
    expect(lines(failed.stdout)).toMatchObject([
      { workerId: 'w-1', status: 'done' },
      { workerId: 'w-2', status: 'failed', plugins: [{ pluginId: 'sayer', status: 'failed' }] },
    ])
    expect(failed.stdout).toMatch(/syntax error: .*sayer\.ts:1:\d/)
    const listed = await plugins(house, 'list')
    expect(listed.stdout).toMatch(/sayer +w-2 +active .*syntax error/)
  })

  test('a worker that stops takes its word back', async () => {
    const house = new PluginHouse()
    const worker = await house.workWith(await PluginDir.with({ 'sayer.ts': sayPlugin("'one'") }))
    expect(await house.redis.keys(`${house.prefix}:worker-plugins:*`)).toHaveLength(1)
    await worker.stop()
    expect(await house.redis.keys(`${house.prefix}:worker-plugins:*`)).toEqual([])
    expect(await plugins(house, 'list')).toMatchObject({ code: 0, stdout: '', stderr: 'no live worker has a plugin\n' })
  })
})

describe('byclaw-worker', { timeout: 120_000 }, () => {
  test('--plugin-dir and --plugins', async () => {
    const folder = await project({
      'agent.ts': agentSource(),
      'plugins/sayer.ts': sayPlugin("'one'"),
      'named/index.ts': sayPlugin("'x'", { id: 'named' }),
    })
    const house = new PluginHouse()
    const flags = ['--plugin-dir', 'plugins', '--plugins', './named', '--worker-id', 'w', '--key-prefix', house.prefix]
    const args = ['--worker-class', './agent.ts', '--redis-url', house.url, ...flags]
    const program = startByclawWorker(args, { cwd: folder })
    const client = house.client()
    await waitFor(async () => (await client.listPlugins()).length === 2, { timeoutMs: 60_000 })
    const listed = await client.listPlugins()
    expect(listed.map(({ pluginId }) => pluginId).sort()).toEqual(['named', 'sayer'])
    expect(await client.reloadPlugins({ pluginId: 'named' })).toMatchObject([{ workerId: 'w', status: 'done' }])
    expect((await program.end()).code).toBe(0)
  })

  test('what a plugin throws shows its own file and line, long after it was loaded', async () => {
    const folder = await project({
      'agent.ts': [
        "import { setFlagsFromString } from 'node:v8'",
        "import { runInNewContext } from 'node:vm'",
        "import { GatewayWorker } from 'byclaw-gateway-sdk'",
        "setFlagsFromString('--expose-gc')",
        'export class Agent extends GatewayWorker {',
        "  getCapabilities() { return ['agent'] }",
        '  processCommand(_: unknown, context: any) {',
        '    // What nobody holds any more is gone by then, as it is in a worker that has run for a while.',
        "    runInNewContext('gc')()",
        "    return context.callTool('sayer_say', {}).catch((e: Error) => e.stack)",
        '  }',
        '}',
      ].join('\n'),
      'plugins/sayer/index.ts': sayPlugin('fail()', { head: "import { fail } from './fail.ts'" }),
      'plugins/sayer/fail.ts': "type Never = never\n\nexport function fail(): Never {\n  throw new Error('boom')\n}",
    })
    const house = new PluginHouse()
    const flags = ['--plugin-dir', 'plugins', '--key-prefix', house.prefix, '--redis-url', house.url]
    const program = startByclawWorker(['--worker-class', './agent.ts', ...flags], { cwd: folder })
    const { data } = await house.client().ask({ targetAgentType: 'agent', sessionId: 's', content: 'go' })
    expect(data).toMatch(/^Error: boom\n +at fail \(.*plugins\/sayer\/fail\.ts:4:9\)/)
    await program.end()
  })

  test('a folder that is not there is a fault of the flag', async () => {
    const folder = await project({ 'agent.ts': agentSource() })
    const args = ['--worker-class', './agent.ts', '--redis-url', new PluginHouse().url, '--plugin-dir', 'nix']
    const { code, stderr } = await startByclawWorker(args, { cwd: folder }).ended
    expect(stderr).toContain('--plugin-dir is invalid: there is no such folder')
    expect(code).toBe(2)
  })
})
