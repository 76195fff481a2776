import { vi } from 'vitest'
import { operate } from '../../../src/cli/operator-program.ts'
import { outcomeOf } from '../../../src/cli/program.ts'
import { work } from '../../../src/cli/worker-program.ts'
import { cleanEnvironment } from './program.ts'

/** What a command has come to. */
export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

let isRunning = false

interface Options {
  readonly env?: Record<string, string>
}

/**
 * Runs a command of `byclaw` in this process, where it takes a hundredth of the time of a process of its own: for what a
 * command does and says. How the program itself starts, is interrupted and ends is for `byclaw` of `program.ts` to show.
 */
export function command(args: readonly string[], options?: Options): Promise<Outcome> {
  return runHere('byclaw', () => operate(args), options)
}

/** The same for a command line that `byclaw-worker` refuses before it loads anything of the user's. */
export function workerCommand(args: readonly string[], options?: Options): Promise<Outcome> {
  return runHere('byclaw-worker', () => work(args), options)
}

async function runHere(name: string, main: () => Promise<number>, { env = {} }: Options = {}): Promise<Outcome> {
  // Environment and output belong to the whole process.
  if (isRunning) throw new Error('one command at a time')
  isRunning = true
  const output = { stdout: '', stderr: '' }
  const spies = (['stdout', 'stderr'] as const).map((stream) =>
    vi.spyOn(process[stream], 'write').mockImplementation((text) => {
      output[stream] += text
      return true
    }),
  )
  const { env: ownEnv, exitCode } = process
  const listeners = process.listenerCount('uncaughtException')
  process.env = cleanEnvironment(env)
  process.exitCode = undefined
  try {
    const code = await outcomeOf(name, main)
    // A launch takes the channel of the process and its last errors for its own, for good.
    if (process.listenerCount('uncaughtException') > listeners) throw new Error('this is for a process of its own')
    return { code, ...output }
  } finally {
    for (const spy of spies) spy.mockRestore()
    process.env = ownEnv
    process.exitCode = exitCode
    isRunning = false
  }
}
