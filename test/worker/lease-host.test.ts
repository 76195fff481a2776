import { expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { House } from './harness.ts'

const threads = () => (process.report.getReport() as { workers: unknown[] }).workers.length

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
