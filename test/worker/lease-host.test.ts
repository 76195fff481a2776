import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import { afterAll, expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { sleep } from '../../src/util/sleep.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { Gate, House } from './harness.ts'

const threads = () => (process.report.getReport() as { workers: unknown[] }).workers.length

/** Those that were opened since, with the kinds of what they have said. */
const opened: { readonly thread: Worker; readonly said: string[] }[] = []
const onThread = (thread: Worker) => {
  const said: string[] = []
  opened.push({ thread, said })
  thread.on('message', ({ kind }) => said.push(kind))
}
process.on('worker', onThread)
afterAll(() => void process.off('worker', onThread))

test('one thread keeps the leases of all workers of a process, and ends with the last of them', async () => {
  const house = new House()
  // Another file's may linger in this process.
  await waitFor(() => threads() === 0, { timeoutMs: 10_000, message: 'the threads to end' })
  const open = (id: number) => house.work(() => id, { workerId: `w-${id}`, leaseMs: 1_000 })
  const workers = [await open(0)]
  // It loads while the worker works already.
  await waitFor(() => threads() > 0)
  const withOne = threads()
  workers.push(...(await Promise.all(Array.from({ length: 5 }, (_, index) => open(index + 1)))))
  expect(threads()).toBe(withOne)
  const [first, ...others] = workers
  await first?.stop()
  // The others' signs of life go on.
  const client = house.client()
  const seen = async () => (await client.listWorkers()).map(({ lastSeenAt }) => lastSeenAt)
  const at = await seen()
  expect(at).toHaveLength(5)
  await waitFor(async () => (await seen()).every((time, index) => time > (at[index] ?? 0)))
  await Promise.all(others.map((worker) => worker.stop()))
  await (await open(6)).stop()
  expect(threads()).toBe(withOne)
  await waitFor(() => threads() < withOne, { timeoutMs: 10_000, message: 'the thread to end' })
  await (await open(7)).stop()
})

test('where the thread fails leases are renewed from the main thread, which is said once; a long task runs once', async () => {
  const house = new House()
  await waitFor(() => threads() === 0, { timeoutMs: 10_000, message: 'the threads to end' })
  const gate = new Gate()
  onTestFinished(() => gate.open())
  const leaseMs = 1_000
  const first = await house.work(() => gate.pass(), { workerId: 'first', leaseMs })
  const client = house.client()
  await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'x' })
  await gate.reached(1)
  await house.work(() => gate.pass(), { workerId: 'other', leaseMs })
  const { thread, said } = opened.at(-1) as (typeof opened)[number]
  await waitFor(() => said.filter((kind) => kind === 'ready').length >= 2, { timeoutMs: 15_000 })
  const failed = once(thread, 'error')
  thread.postMessage(null)
  await failed
  await sleep(3 * leaseMs)
  expect([gate.arrived, first.running]).toEqual([1, 1])
  expect((await client.listWorkers()).map(({ workerId }) => workerId).toSorted()).toEqual(['first', 'other'])
  const lines = house.logger.lines.filter(({ message }) => message.includes('main thread'))
  expect(lines.map(({ level, fields }) => [level, fields['workerId']]).toSorted()).toEqual([
    ['warn', 'first'],
    ['warn', 'other'],
  ])
  gate.open()
  await house.settled()
})
