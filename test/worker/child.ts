import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { waitFor } from '../../src/testing/wait-for.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { plainProgram } from '../support/plain-program.ts'
import type { House } from './harness.ts'

const CHILD = plainProgram(new URL('fixtures/worker.ts', import.meta.url))

/** A worker in a process of its own that consumes. @throws Error if that ends before. */
export async function startChild(
  house: House,
  workerId: string,
  leaseMs = 5_000,
  {
    workspaceDir = join(tmpdir(), 'byclaw-workspace'),
    under = [],
  }: {
    readonly workspaceDir?: string
    /** A program that runs it, with its arguments. */
    readonly under?: readonly string[]
  } = {},
): Promise<{ child: ChildProcess; said: string[] }> {
  const [program = '', ...args] = [...under, process.execPath, CHILD, house.url, house.prefix, workerId]
  const child = spawn(program, [...args, `${leaseMs}`, workspaceDir], {
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
  const isDone = () => said.includes('ready') || child.exitCode !== null
  await waitFor(isDone, { timeoutMs: 15_000, message: 'the worker process to be ready' })
  if (child.exitCode !== null) throw new Error(`the worker process has ended with ${child.exitCode}`)
  return { child, said }
}
