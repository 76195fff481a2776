import { vi } from 'vitest'
import { operate } from '../../../src/cli/operator-program.ts'
import { outcomeOf } from '../../../src/cli/program.ts'
import { cleanEnvironment } from './program.ts'

/** What a command has come to. */
export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

let isRunning = false

/**
 * Runs a command of `byclaw` in this process, where it takes a hundredth of the time of a process of its own: for what a
 * command does and says. How the program itself starts, is interrupted and ends is for `byclaw` of `program.ts` to show.
 */
export async function command(
  args: readonly string[],
  { env = {} }: { readonly env?: Record<string, string> } = {},
): Promise<Outcome> {
  // Environment and output belong to the whole process.
  if (isRunning) throw new Error('one command at a time')
  isRunning = true
  const output = { stdout: '', stderr: '' }
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      output[name] += text
      return true
    }),
  )
  const { env: ownEnv, exitCode } = process
  process.env = cleanEnvironment(env)
  process.exitCode = undefined
  try {
    const code = await outcomeOf('byclaw', () => operate(args))
    return { code, ...output }
  } finally {
    for (const spy of spies) spy.mockRestore()
    process.env = ownEnv
    process.exitCode = exitCode
    isRunning = false
  }
}
