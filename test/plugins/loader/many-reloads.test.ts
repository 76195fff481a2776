import { expect, test } from 'vitest'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { heapUsed } from '../../support/heap.ts'
import { PluginDir, PluginHouse, sayPlugin } from './support.ts'

const RELOADS = 25
const IN_FLIGHT = 10
/** Each version brings some 4 MB of its own: what is kept of it shows. */
const BALLAST = "const ballast = Array.from({ length: 50_000 }, (_, i) => 'ballast ' + i + Math.random())"
const MOST_GROWTH = 20e6

// The thousand are run by bench/plugin-reloads.mjs.
test('reloads under load: no task fails or sees two versions, and nothing of the former ones is kept', {
  timeout: 120_000,
}, async () => {
  const source = (version: number) =>
    sayPlugin(`ballast.length === 50_000 ? ${version} : -1`, { head: BALLAST, version: `${version}.0.0` })
  const dir = await PluginDir.with({ 'sayer.ts': source(0) })
  const house = new PluginHouse()
  const worker = await house.work(
    async (_, context) => {
      const first = await context.callTool('sayer_say', {})
      await context.emitChunk('between')
      return [first, await context.callTool('sayer_say', {})]
    },
    { pluginDir: dir.path },
  )
  const client = house.client()
  let [current, wanted, tasks, running] = [0, 0, 0, true]
  const wrong: unknown[] = []
  const lane = async () => {
    while (running) {
      const from = current
      const asked = { targetAgentType: 'agent', sessionId: `session-${tasks++}`, content: 'go' }
      const { status, data, error } = await client.ask<[number, number]>(asked)
      const [first = -1, second] = data ?? []
      if (status !== 'COMPLETED' || first !== second || first < from || first > wanted)
        wrong.push({ from, data, error })
    }
  }
  const lanes = Array.from({ length: IN_FLIGHT }, lane)
  let before = 0
  for (let version = 1; version <= RELOADS; version += 1) {
    wanted = version
    await dir.write('sayer.ts', source(version))
    // At once, so that the next change comes while this one is still being settled.
    const isThere = () => worker.plugins.list()[0]?.version.startsWith(`${version}.`) === true
    await waitFor(isThere, { timeoutMs: 30_000, message: () => JSON.stringify(house.errors) })
    current = version
    if (version === 5) before = heapUsed()
  }
  running = false
  await Promise.all(lanes)
  expect(wrong).toEqual([])
  expect(house.errors).toEqual([])
  expect(tasks).toBeGreaterThan(RELOADS)
  house.logger.lines.length = 0
  expect(heapUsed() - before).toBeLessThan(MOST_GROWTH)
})
