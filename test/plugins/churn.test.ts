import { expect, test } from 'vitest'
import { z } from 'zod'
import { tool } from '../../src/agent/tool.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { House } from '../worker/harness.ts'
import { make } from './support.ts'

test('hundreds of versions under load: no task fails or sees two of them, each is unloaded once, after its last task', async () => {
  const house = new House()
  const users = new Map<string, number>()
  const faults: string[] = []
  const unloaded: string[] = []
  const use = (version: string, by: number) => users.set(version, (users.get(version) ?? 0) + by)
  const build = (version: string) =>
    make('p', {
      version,
      registerAgentConfigs: () => [
        {
          agentId: 'agent',
          tools: { version: tool({ description: '', input: z.object({}), execute: () => version }) },
        },
      ],
      onTaskStart: () => void use(version, 1),
      onTaskComplete: () => void use(version, -1),
      interceptors: {
        task: async (input, next) => {
          const result = await next(input)
          if (result !== version) faults.push(`${result} in ${version}`)
          return result
        },
      },
      onUnload: () => {
        unloaded.push(version)
        if (users.get(version)) faults.push(`${version} unloaded with ${users.get(version)} tasks`)
      },
    })
  const worker = await house.work(
    async (_command, context) => {
      const before = context.pluginVersion('p')
      await context.emitChunk('x')
      const tooled = await context.callTool('version', {})
      if (tooled !== before) throw new Error(`${before} became ${tooled}`)
      return tooled
    },
    { plugins: [build('0')] },
  )
  const client = house.client()
  let isOver = false
  let asked = 0
  const load = Array.from({ length: 8 }, async (_, index) => {
    while (!isOver) {
      const { status } = await client.ask({ targetAgentType: 'agent', sessionId: `s${index}`, content: 'x' })
      if (status !== 'COMPLETED') faults.push(status)
      asked += 1
    }
  })
  for (let version = 1; version <= 300; version += 1) {
    const { status } = await worker.plugins.replace('p', build(String(version)))
    if (status !== 'replaced') faults.push(status)
    // Some live for a task or more, others for none.
    if (version % 3 === 0) await waitFor(() => asked >= version / 3)
  }
  isOver = true
  await Promise.all(load)
  await worker.stop()
  expect(faults).toEqual([])
  expect(asked).toBeGreaterThanOrEqual(100)
  expect(unloaded.map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 301 }, (_, version) => version))
})
