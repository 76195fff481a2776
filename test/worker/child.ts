import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { plainProgram } from '../support/plain-program.ts'
import type { House } from './harness.ts'

const CHILD = plainProgram(new URL('fixtures/worker.ts', import.meta.url))

/** A worker in a process of its own that consumes. */
export async function startChild(
  house: House,
  workerId: string,
  leaseMs = 5_000,
  workspaceDir = join(tmpdir(), 'byclaw-workspace'),
): Promise<{ child: ChildProcess; said: string[] }> {
  const child = spawn(process.execPath, [CHILD, house.url, house.prefix, workerId, `${leaseMs}`, workspaceDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })
  const said: string[] = []
  createInterface({ input: child.stdout }).on('line', (line) => said.push(line))
  await waitFor(() => said.includes('ready'), { timeoutMs: 15_000, message: 'the worker process to be ready' })
  return { child, said }
}
