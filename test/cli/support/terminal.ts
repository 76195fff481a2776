import { execFileSync } from 'node:child_process'
import { builtProgram, Program } from './program.ts'

/** Whether there is a `script`, which runs programs on a terminal. */
export const HAS_TERMINAL = hasScript()

/** Runs a program on a terminal of its own; both of its outputs come as `stdout`. */
export function onTerminal(
  name: 'byclaw' | 'byclaw-worker',
  args: readonly string[],
  env: Record<string, string>,
): Program {
  const command = [process.execPath, builtProgram(name), ...args].map((word) => `'${word}'`).join(' ')
  return new Program('script', ['-qec', `exec ${command}`, '/dev/null'], { env: { ...env, TERM: 'xterm' } })
}

/** A text between the marks for a style, as `styleText` writes them. */
export function styled([on, off]: readonly [on: number, off: number], text: string): string {
  return `\u001b[${on}m${text}\u001b[${off}m`
}

function hasScript(): boolean {
  try {
    execFileSync('script', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
