import { expect, test } from 'vitest'
import type { AgentContext } from '../../../src/agent/context.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import type { RunningWorker } from '../../../src/worker/worker-runtime.ts'
import { House } from '../harness.ts'

const VERSIONS = ['v1', 'v2', 'v3'] as const
/** Whose tasks a version goes on with. */
const COMPATIBLE: Readonly<Record<string, string[]>> = { v1: [], v2: ['v1'], v3: [] }
const TASKS = 40

test('workers of three versions come and go: no task meets a version that does not know it, and each ends once', {
  timeout: 180_000,
}, async () => {
  const house = new House()
  const client = house.client()
  /** By task, the versions that have run its handler after it had recorded something. */
  const seen = new Map<string, string[]>()
  const handler = (version: string) => async (_: unknown, context: AgentContext) => {
    if (context.agentType === 'child') return 'y'
    const { messageId } = context
    await context.step('begin', () => version)
    seen.set(messageId, [...(seen.get(messageId) ?? []), version])
    for (let round = 0; round < 3; round += 1) {
      await context.callAgent({ targetAgentType: 'child', content: `${round}` })
      await context.sleep(100)
      await context.emitChunk(`${round} `)
    }
    return 'done'
  }
  const options = { capabilities: ['agent', 'child'], suspendAfterMs: 20, leaseMs: 1_000, maxConcurrency: 10 }
  const hire = (version: string) =>
    house.work(handler(version), { ...options, version, compatibleVersions: COMPATIBLE[version] ?? [] })
  const workers = new Map<string, RunningWorker>()
  for (const version of VERSIONS) workers.set(version, await hire(version))
  const ids = Array.from({ length: TASKS }, (_, i) => `m-${i}`)
  await Promise.all(
    ids.map((messageId) =>
      client.sendMessage({ targetAgentType: 'agent', sessionId: messageId, messageId, content: 'x' }),
    ),
  )
  // One version after the other leaves in the middle of its work, and comes back.
  for (let turn = 0; turn < 9; turn += 1) {
    const version = VERSIONS[turn % VERSIONS.length] as string
    await waitFor(() => (workers.get(version)?.running ?? 0) > 0 || seen.size === TASKS)
    await workers.get(version)?.stop()
    workers.set(version, await hire(version))
  }
  const ends = await Promise.all(ids.map((id) => client.result({ sessionId: id, messageId: id, timeoutMs: 120_000 })))
  expect(ends.map(({ status }) => status)).toEqual(ids.map(() => 'COMPLETED'))
  for (const id of ids) {
    expect(await house.dones(id, id)).toHaveLength(1)
    expect(await client.text(id, id)).toBe('0 1 2 ')
    const versions = seen.get(id) ?? []
    for (const [run, version] of versions.entries()) {
      const before = versions[run - 1] ?? version
      expect([version, ...(COMPATIBLE[version] ?? [])]).toContain(before)
    }
  }
  await house.settled('agent', ...VERSIONS.map((version) => `agent@${version}`), 'child')
})
