import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type Plugin, Plugin as PluginBase, type PluginDefinition } from '../../src/agent/plugin.ts'
import { tool } from '../../src/agent/tool.ts'
import { GatewayError } from '../../src/errors.ts'
import { deferred } from '../../src/util/deferred.ts'
import { make, openRegistry } from './support.ts'

const echo = tool({ description: 'echo', input: z.object({}), execute: () => 'echo' })

describe('a plugin comes and goes', () => {
  test('it is set up, started, used, and unloaded, in this order and once', async () => {
    const seen: string[] = []
    const { registry } = openRegistry()
    const plugin = make('p', {
      registerAgentConfigs: ({ pluginId, workerId, capabilities, logger }) => {
        logger.info({}, 'hello')
        seen.push(`register ${pluginId} ${workerId} ${capabilities}`)
        return [{ agentId: 'agent', tools: { echo }, prompts: { system: 'Be {{mood}}' } }]
      },
      onWorkerStartup: ({ workerId }) => void seen.push(`startup ${workerId} ${registry.current}`),
      onWorkerShutdown: () => void seen.push('shutdown'),
      onUnload: ({ reason }) => void seen.push(`unload ${reason}`),
    })
    expect(registry.current).toBeNull()
    expect(await registry.add(plugin)).toEqual({ status: 'added', pluginId: 'p', version: '1.0.0' })
    expect(registry.list()).toEqual([
      {
        ...{ pluginId: 'p', version: '1.0.0', name: 'p', description: '', priority: 0, source: undefined },
        ...{ loadedAt: expect.any(Number), tools: ['echo'], agents: ['agent'] },
        hooks: ['onWorkerStartup', 'onWorkerShutdown', 'onUnload'],
      },
    ])
    await registry.close()
    await registry.close()
    expect(seen).toEqual(['register p w agent', 'startup w null', 'shutdown', 'unload worker-stopped'])
    expect(registry.current).toBeNull()
    expect(await registry.add(plugin)).toMatchObject({ status: 'refused', error: { code: 'GW_CLOSED' } })
  })

  test('a plain object is taken as definePlugin would take it', async () => {
    const { registry } = openRegistry()
    const seen: unknown[] = []
    const plain = {
      manifest: { pluginId: 'p', version: '1.0.0' },
      onWorkerStartup(this: Plugin) {
        seen.push(this instanceof PluginBase, this.manifest.pluginId)
      },
    }
    expect(await registry.add(plain)).toMatchObject({ status: 'added', pluginId: 'p' })
    expect(await registry.replace('p', { ...plain })).toMatchObject({ status: 'replaced', pluginId: 'p' })
    expect(seen).toEqual([true, 'p', true, 'p'])
  })

  test('as a class, too, with `this`', async () => {
    class Counting extends PluginBase {
      readonly manifest = { pluginId: 'counting', version: '2.0.0' }
      started = 0

      override onWorkerStartup() {
        this.started += 1
      }
    }
    const plugin = new Counting()
    const { registry } = openRegistry()
    expect(await registry.add(plugin)).toMatchObject({ status: 'added', version: '2.0.0' })
    expect(plugin.started).toBe(1)
    expect(plugin).toBeInstanceOf(PluginBase)
  })

  test('a hook that does not exist is told once by plugin and name, and what only looks like one is not', async () => {
    class Typos extends PluginBase {
      readonly manifest = { pluginId: 'typos', version: '1.0.0' }
      readonly on = () => undefined
      readonly onlyOnce = () => undefined
      readonly onBoard = true

      get onRead(): never {
        throw new Error('nobody reads this')
      }

      onTaskStrat() {
        return 1
      }

      ontaskerror() {
        return 1
      }

      override onTaskComplete() {
        return Promise.resolve()
      }
    }
    const { registry, logger } = openRegistry()
    await registry.add(new Typos())
    const told = () => logger.lines.filter(({ level }) => level === 'warn').map(({ message }) => message)
    expect(told()).toEqual([
      "plugin 'typos': there is no hook onTaskStrat, it is never called",
      "plugin 'typos': there is no hook ontaskerror, it is never called",
    ])
    const plain = { manifest: { pluginId: 'plain', version: '1.0.0' }, onTaskDone: () => undefined }
    await registry.add(plain)
    expect(told().slice(2)).toEqual(["plugin 'plain': there is no hook onTaskDone, it is never called"])
  })

  test('removing and replacing unload the old one; a build shows in the version', async () => {
    const { registry } = openRegistry()
    const reasons: string[] = []
    const version = (text: string) =>
      make('p', { version: text, onUnload: ({ reason }) => void reasons.push(`${text} ${reason}`) })
    await registry.add(version('1.0.0'))
    expect(await registry.replace('p', version('1.0.1'), { build: 'f00', source: '/p' })).toEqual({
      ...{ status: 'replaced', pluginId: 'p', version: '1.0.1+f00', previous: '1.0.0' },
    })
    expect(registry.list()).toMatchObject([{ version: '1.0.1+f00', source: '/p' }])
    expect(registry.current?.version('p')).toBe('1.0.1+f00')
    expect(await registry.remove('p')).toEqual({ status: 'removed', pluginId: 'p', previous: '1.0.1+f00' })
    expect(await registry.remove('p')).toEqual({ status: 'unknown', pluginId: 'p' })
    expect(registry.current).toBeNull()
    expect(reasons).toEqual(['1.0.0 replaced', '1.0.1 removed'])
    expect(await registry.replace('p', version('1.0.2'))).toMatchObject({ status: 'added' })
    expect(await registry.replace('p', make('q'))).toMatchObject({ status: 'replaced', pluginId: 'q' })
    expect(registry.list().map(({ pluginId }) => pluginId)).toEqual(['q'])
  })

  test('by priority, the highest first, then as they came; a replaced one keeps its place', async () => {
    const { registry } = openRegistry()
    await registry.add(make('a'))
    await registry.add(make('b'))
    await registry.add(make('late', { priority: -1 }))
    await registry.add(make('early', { priority: 10 }))
    await registry.replace('a', make('a', { version: '2.0.0' }))
    expect(registry.list().map(({ pluginId }) => pluginId)).toEqual(['early', 'a', 'b', 'late'])
  })

  test('changes are made one after the other, whoever waits', async () => {
    const { registry } = openRegistry()
    const gate = deferred()
    const slow = registry.add(make('p', { onWorkerStartup: () => gate.promise }))
    const quick = registry.replace('p', make('p', { version: '2.0.0' }))
    expect(registry.current).toBeNull()
    gate.resolve()
    expect(await slow).toMatchObject({ status: 'added' })
    expect(await quick).toMatchObject({ status: 'replaced', previous: '1.0.0' })
  })

  test('is unloaded when the last one that uses it leaves', async () => {
    const { registry } = openRegistry()
    const unloaded: string[] = []
    const version = (text: string) => make('p', { version: text, onUnload: () => void unloaded.push(text) })
    await registry.add(version('1.0.0'))
    const task = registry.current
    task?.enter()
    await registry.replace('p', version('2.0.0'))
    const later = registry.current
    later?.enter()
    await registry.add(make('other'))
    await registry.remove('p')
    expect(unloaded).toEqual([])
    later?.leave()
    expect(unloaded).toEqual(['2.0.0'])
    task?.leave()
    expect(unloaded).toEqual(['2.0.0', '1.0.0'])
  })
})

describe('a plugin is refused, and what was there stays', () => {
  const bad = (value: unknown) => value as Plugin
  test.each<[string, PluginDefinition, string | RegExp]>([
    [
      'no plugin',
      bad(
        new (class {
          manifest = { pluginId: 'p', version: '1' }
        })(),
      ),
      /^plugin 'p' was refused: a plugin is what definePlugin\(\{ … \}\) returns or takes/,
    ],
    ['nothing', bad(undefined), /\(got undefined\)/],
    ['a plain object that does not say who it is', bad({ onTaskStart: () => 1 }), /a plugin is what .* \(got \{\}\)/],
    ['a plain object at fault', { manifest: { pluginId: 'p', version: '' } }, /manifest\.version: .* \(got ""\)/],
    ['without an id', make(bad(undefined) as never), /manifest\.pluginId: .* \(got undefined\)/],
    [
      'with a bad id',
      make('no spaces'),
      'manifest.pluginId: 1 to 64 of letters, digits, _ - . are allowed (got "no spaces")',
    ],
    ['with a bad version', make('p', { version: '' }), /manifest\.version: 1 to 64 printable .* \(got ""\)/],
    ['with a bad priority', make('p', { priority: 1.5 }), /manifest\.priority: .* \(got 1\.5\)/],
    ['with a bad hook', make('p', { onTaskStart: 7 as never }), 'onTaskStart: must be a function (got 7)'],
    ['with a bad time', make('p', { hookTimeoutMs: 0 }), /hookTimeoutMs: .* \(got 0\)/],
    ['with an unknown interceptor', make('p', { interceptors: { send: () => 1 } as never }), /interceptors\.send: /],
    [
      'whose set-up throws',
      make('p', { registerAgentConfigs: () => Promise.reject(new Error('boom')) }),
      'registerAgentConfigs() failed: boom',
    ],
    [
      'whose set-up answers nonsense',
      make('p', { registerAgentConfigs: () => [{ agent: 'x' }] as never }),
      /registerAgentConfigs\(\): 0\.agentId: /,
    ],
    [
      'whose start throws',
      make('p', { onWorkerStartup: () => Promise.reject(new Error('boom')) }),
      'onWorkerStartup() failed: boom',
    ],
    [
      'whose start hangs',
      make('p', { startTimeoutMs: 20, onWorkerStartup: () => new Promise(() => undefined) }),
      'onWorkerStartup() failed: it took longer than 20 ms',
    ],
    [
      'with a bad tool',
      make('p', { registerAgentConfigs: () => [{ agentId: 'a', tools: { 'no spaces': echo } }] }),
      /the name of a tool is invalid/,
    ],
    [
      'with a bad prompt',
      make('p', { registerAgentConfigs: () => [{ agentId: 'a', prompts: { x: '{{' } }] }),
      /prompt 'x' is invalid/,
    ],
    [
      'in conflict',
      make('p', { registerAgentConfigs: () => [{ agentId: 'a', tools: { echo } }] }),
      /tool 'echo' is there already, from plugin 'old'/,
    ],
    ['of an id that is there', make('old'), 'one of that id is there already'],
  ])('%s', async (_what, plugin, message) => {
    const { registry, logger } = openRegistry()
    const other = tool({ description: 'other', input: z.object({}), execute: () => 'other' })
    await registry.add(make('old', { registerAgentConfigs: () => [{ agentId: 'a', tools: { echo: other } }] }))
    const before = registry.current
    const change = await registry.add(plugin)
    expect(change.status).toBe('refused')
    const error = change.status === 'refused' ? change.error : undefined
    expect(error).toBeInstanceOf(GatewayError)
    expect(error?.code).toBe('GW_PLUGIN_REFUSED')
    if (typeof message === 'string') expect(error?.message).toContain(message)
    else expect(error?.message).toMatch(message)
    expect(registry.current).toBe(before)
    expect(logger.lines.filter(({ level }) => level === 'error')).toEqual([])
  })

  test('when it takes the place of another, that one goes on', async () => {
    const { registry } = openRegistry()
    const reasons: string[] = []
    await registry.add(make('p', { onUnload: () => void reasons.push('old') }))
    const broken = make('p', {
      version: '2.0.0',
      onWorkerStartup: () => Promise.reject(new Error('boom')),
      onUnload: ({ reason }) => void reasons.push(reason),
    })
    expect(await registry.replace('p', broken)).toMatchObject({ status: 'refused', pluginId: 'p' })
    expect(registry.list()).toMatchObject([{ pluginId: 'p', version: '1.0.0' }])
    expect(reasons).toEqual(['failed'])
  })

  test('removing one is refused when the others do not go together without it', async () => {
    const { registry } = openRegistry()
    const tools = (text: string) => ({ t: tool({ description: text, input: z.object({}), execute: () => text }) })
    const worker = openRegistry(tools('worker')).registry
    expect(
      await worker.add(make('p', { registerAgentConfigs: () => [{ agentId: 'a', tools: tools('p') }] })),
    ).toMatchObject({
      ...{ status: 'refused', error: { message: expect.stringContaining('from the worker') } },
    })
    const skip = (text: string) => () => [{ agentId: 'a', tools: tools(text), onConflict: 'skip' as const }]
    await registry.add(make('a', { registerAgentConfigs: skip('a') }))
    await registry.add(make('b', { registerAgentConfigs: skip('b') }))
    expect(registry.list().map(({ tools: names }) => names)).toEqual([['t'], []])
    await registry.remove('a')
    expect(registry.list().map(({ tools: names }) => names)).toEqual([['t']])
  })
})

test.each(['registerAgentConfigs', 'onWorkerStartup'] as const)(
  'one that hangs in %s keeps no registry from closing, and is unloaded',
  async (where) => {
    const { registry } = openRegistry()
    const begun = deferred()
    const unloads: string[] = []
    const hanging = make('hanging', {
      [where]: () => {
        begun.resolve()
        return new Promise(() => undefined)
      },
      onUnload: ({ reason }) => void unloads.push(reason),
    })
    await registry.add(make('other'))
    const added = registry.add(hanging)
    const after = registry.add(make('after'))
    await begun.promise
    const began = performance.now()
    await registry.close()
    expect(performance.now() - began).toBeLessThan(5_000)
    expect(await added).toMatchObject({ status: 'refused', pluginId: 'hanging', error: { code: 'GW_CLOSED' } })
    expect(await after).toMatchObject({ status: 'refused', error: { code: 'GW_CLOSED' } })
    expect(unloads).toEqual(['failed'])
  },
)

test('the very object that is there, added again, is refused and not unloaded', async () => {
  const { registry } = openRegistry()
  const unloads: string[] = []
  const once = make('once', { onUnload: ({ reason }) => void unloads.push(reason) })
  expect(await registry.add(once)).toMatchObject({ status: 'added' })
  expect(await registry.add(once)).toMatchObject({ status: 'refused' })
  expect(unloads).toEqual([])
  await registry.close()
  expect(unloads).toHaveLength(1)
})
