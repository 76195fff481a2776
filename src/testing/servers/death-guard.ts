import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Socket } from 'node:net'

// Reads the pid to watch, line by line; an empty line means none. The end of the input is the end of the parent.
const SCRIPT = `
trap '' HUP INT QUIT TERM
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then
  kill -s "$2" "$pid"
  kill -s CONT "$pid"
  tries=0
  while kill -0 "$pid" && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
  kill -s KILL "$pid"
fi
rm -rf -- "$1"
`

/** What the guard is to do once its parent is dead. */
export interface DeathGuardOptions {
  /** The folder to remove. */
  readonly folder: string
  /** The signal that ends the server at once. */
  readonly dieSignal: NodeJS.Signals
  readonly env: NodeJS.ProcessEnv
}

/**
 * A tiny shell that outlives this process, however it dies: it holds the other end of a pipe, and when the pipe closes, it
 * ends the server and removes the folder. It needs no help of the system beyond a shell, and stands in a process
 * group of its own, so that a signal to the whole group of the parent does not reach it.
 */
export class DeathGuard {
  readonly #shell: ChildProcess

  private constructor(shell: ChildProcess) {
    this.#shell = shell
  }

  /** Resolves when the guard stands. */
  static async post({ folder, dieSignal, env }: DeathGuardOptions): Promise<DeathGuard> {
    const shell = spawn('/bin/sh', ['-c', SCRIPT, 'server-guard', folder, dieSignal.replace(/^SIG/, '')], {
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      env: { PATH: [env.PATH, '/usr/bin', '/bin'].filter(Boolean).join(':') },
    })
    await once(shell, 'spawn')
    // A guard that was killed is missed by nobody: the server is still ended by stop() and at the exit.
    shell.stdin?.on('error', () => shell.stdin?.destroy())
    shell.unref()
    if (shell.stdin instanceof Socket) shell.stdin.unref()
    return new DeathGuard(shell)
  }

  /** Names the process that must not outlive this one; undefined: there is none now. */
  watch(pid: number | undefined): void {
    if (this.#shell.stdin?.writable) this.#shell.stdin.write(`${pid ?? ''}\n`)
  }

  /** Sends the guard home, which removes the folder on its way. */
  async dismiss(): Promise<void> {
    if (this.#shell.exitCode !== null || this.#shell.signalCode !== null) return
    this.#shell.ref()
    const gone = once(this.#shell, 'exit')
    this.#shell.stdin?.end()
    await gone
  }
}
