import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { LocalServerError } from './local-server.ts'
import type { Launch, ServerRecipe } from './server-recipe.ts'

const READY_CHECK_MS = 10
const ORDERLY_END_MS = 10_000
const LOG_TAIL_LINES = 30

/** How an attempt to start ended, other than by an error. */
export type StartOutcome = 'ready' | 'port-taken'

/** Handed the pid as soon as there is one, and undefined once the process is gone. */
export type PidListener = (pid: number | undefined) => void

/** One server process after another in one folder: start, end, and start again. */
export class ServerProcess {
  readonly #recipe: ServerRecipe
  readonly #launch: Launch
  readonly #onPid: PidListener
  #child: ChildProcess | undefined

  constructor(recipe: ServerRecipe, launch: Launch, onPid: PidListener) {
    this.#recipe = recipe
    this.#launch = launch
    this.#onPid = onPid
  }

  /** The pid while the process runs. */
  get pid(): number | undefined {
    const child = this.#child
    return child !== undefined && child.exitCode === null && child.signalCode === null ? child.pid : undefined
  }

  /** Starts the program and waits until it takes connections; throws with the end of its log if it does not. */
  async start(port: number, timeoutMs: number): Promise<StartOutcome> {
    const deadline = performance.now() + timeoutMs
    const logStart = (await this.#readLog()).length
    const pid = await this.#spawn(port)
    while (this.pid !== undefined) {
      if (await this.#recipe.isReady(this.#launch, port, pid)) return 'ready'
      if (performance.now() > deadline) {
        await this.end(this.#recipe.dieSignal)
        throw await this.#failure(`was not ready within ${timeoutMs} ms`, logStart)
      }
      await sleep(READY_CHECK_MS)
    }
    const log = (await this.#readLog()).slice(logStart)
    if (/address already in use/i.test(log)) return 'port-taken'
    throw await this.#failure(
      `ended with ${this.#child?.signalCode ?? this.#child?.exitCode} before it was ready`,
      logStart,
    )
  }

  /** Sends a signal; false if the process is gone already. */
  kill(signal: NodeJS.Signals): boolean {
    return this.#child?.kill(signal) ?? false
  }

  /** Sends the signal and resolves when the process is gone; who does not go in time is killed. */
  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (child === undefined || this.pid === undefined) return
    child.ref()
    const gone = once(child, 'exit')
    child.kill(signal)
    child.kill('SIGCONT') // a frozen process does not hear the signal before
    const timer = setTimeout(() => child.kill('SIGKILL'), ORDERLY_END_MS)
    await gone
    clearTimeout(timer)
  }

  async #spawn(port: number): Promise<number> {
    const { binary, folder, env, account } = this.#launch
    // A file rather than a pipe: nothing to drain, and the server does not fall over a closed pipe.
    const log = await open(this.#logPath, 'a')
    try {
      const child = spawn(binary, this.#recipe.commandLine(this.#launch, port), {
        cwd: folder,
        detached: true, // Ctrl-C is for the parent, which then ends the server in its own way
        stdio: ['ignore', log.fd, log.fd],
        env: { ...env, LC_ALL: 'C' },
        ...account,
      })
      this.#child = child
      this.#onPid(child.pid)
      child.once('exit', () => this.#onPid(undefined))
      await once(child, 'spawn')
      child.unref()
      return child.pid ?? 0
    } catch (error) {
      throw new LocalServerError(`${this.#recipe.name}: ${binary} cannot be run`, { cause: error })
    } finally {
      await log.close()
    }
  }

  get #logPath(): string {
    return join(this.#launch.folder, 'server.log')
  }

  async #readLog(): Promise<string> {
    try {
      return await readFile(this.#logPath, 'utf8')
    } catch {
      return '' // not written yet
    }
  }

  async #failure(what: string, logStart: number): Promise<LocalServerError> {
    const tail = (await this.#readLog()).slice(logStart).trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n')
    return new LocalServerError(`${this.#recipe.name} (${this.#launch.binary}) ${what}; its log ends with:\n${tail}`)
  }
}
