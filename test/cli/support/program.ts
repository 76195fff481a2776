import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { waitFor } from '../../../src/testing/wait-for.ts'

/** Where a program runs, and with what. */
export interface ProgramOptions {
  readonly cwd?: string
  /** Beside what every process needs; nothing that the programs read is inherited. */
  readonly env?: Record<string, string>
  /** Text for stdin; without it stdin is empty. */
  readonly input?: string
  /** True for one that starts others which may outlive it: they do not outlive the test. */
  readonly isGroup?: boolean
}

/** How a program ended. */
export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

const READ_BY_US = /^(?:REDIS_|BYAI_|LOG_LEVEL$|NO_COLOR$|FORCE_COLOR$|NODE_)/

/** Path of a built program. */
export function builtProgram(name: 'byclaw' | 'byclaw-worker'): string {
  return fileURLToPath(new URL(`../../../dist/cli/${name}.js`, import.meta.url))
}

/** The environment of a program under test. */
export function cleanEnvironment(env: Record<string, string>): Record<string, string | undefined> {
  const inherited = Object.entries(process.env).filter(([name]) => !READ_BY_US.test(name))
  return { ...Object.fromEntries(inherited), ...env }
}

/** A program under test as a child process; it does not outlive its test. */
export class Program {
  readonly child: ChildProcess
  /** Resolves when it has ended and all its output is here. */
  readonly ended: Promise<Ending>
  stdout = ''
  stderr = ''

  constructor(
    command: string,
    args: readonly string[],
    { cwd, env = {}, input, isGroup = false }: ProgramOptions = {},
  ) {
    this.child = spawn(command, args, {
      cwd,
      env: cleanEnvironment(env),
      detached: isGroup,
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    })
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
    })
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.child.stdin?.end(input)
    this.ended = once(this.child, 'close').then(([code, signal]) => {
      return { code, signal, stdout: this.stdout, stderr: this.stderr }
    })
    onTestFinished(async () => {
      if (isGroup) killGroup(this.child)
      else this.child.kill('SIGKILL')
      await this.ended
    })
  }

  /** Resolves when its output, of either side, matches. */
  async says(pattern: RegExp | string, timeoutMs = 15_000): Promise<void> {
    const all = () => this.stdout + this.stderr
    await waitFor(() => (typeof pattern === 'string' ? all().includes(pattern) : pattern.test(all())), {
      timeoutMs,
      message: () => `the program to say ${pattern}; it said:\n${all()}`,
    })
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ending> {
    this.child.kill(signal)
    return this.ended
  }

  /** The entries of a JSON log on stdout. */
  log(): Record<string, unknown>[] {
    return this.stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // all have ended
  }
}

export function startByclaw(args: readonly string[], options?: ProgramOptions): Program {
  return new Program(process.execPath, [builtProgram('byclaw'), ...args], options)
}

export function startByclawWorker(args: readonly string[], options?: ProgramOptions): Program {
  return new Program(process.execPath, [builtProgram('byclaw-worker'), ...args], options)
}

/** Runs `byclaw` to its end. */
export function byclaw(args: readonly string[], options?: ProgramOptions): Promise<Ending> {
  return startByclaw(args, options).ended
}

/** Runs `byclaw-worker` to its end. */
export function byclawWorker(args: readonly string[], options?: ProgramOptions): Promise<Ending> {
  return startByclawWorker(args, options).ended
}
