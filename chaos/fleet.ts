import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { sleep } from '../src/util/sleep.ts'
import { TcpProxy } from '../test/support/tcp-proxy.ts'
import type { WorkerSettings } from './worker.ts'

const PROGRAM = fileURLToPath(new URL('./worker.ts', import.meta.url))
const COME_BACK_MS = 100
/** How much longer than its shutdown time a worker may take to end. */
const EXIT_GRACE_MS = 15_000

export interface MemberOptions {
  readonly name: string
  readonly redisPort: number
  readonly logPath: string
  /** Settings of the worker; its Redis is the member's own proxy. */
  readonly settings: (redis: string, name: string) => WorkerSettings
}

/**
 * One worker of the fleet: a place with a name and a network of its own, in which one process runs after another. While
 * it is `wanted`, whatever ends its process, another one follows.
 */
export class Member {
  readonly name: string
  readonly proxy: TcpProxy
  /** How often a process did not end in time after SIGTERM. */
  overdue = 0
  /** How often a process ended that nobody had killed or asked to stop. */
  deaths = 0
  readonly #options: MemberOptions
  readonly #processes = new Set<ChildProcess>()
  readonly #consuming = new WeakSet<ChildProcess>()
  readonly #pauses = new WeakMap<ChildProcess, number>()
  #current: ChildProcess | undefined
  #wanted = false

  private constructor(options: MemberOptions, proxy: TcpProxy) {
    this.#options = options
    this.name = options.name
    this.proxy = proxy
  }

  static async create(options: MemberOptions): Promise<Member> {
    return new Member(options, await TcpProxy.start(options.redisPort))
  }

  /** The process of this place consumes. */
  get isConsuming(): boolean {
    return this.#current !== undefined && this.#consuming.has(this.#current)
  }

  /** Starts a process and keeps the place taken from now on; resolves when it consumes or has ended. */
  async start(): Promise<void> {
    this.#wanted = true
    await this.#spawn()
  }

  /** kill -9; the next process comes `afterMs` later. */
  kill(afterMs: number): boolean {
    const child = this.#current
    if (child === undefined) return false
    this.#pauses.set(child, afterMs)
    return child.kill('SIGKILL')
  }

  /** Freezes the process for a while. */
  async freeze(ms: number): Promise<boolean> {
    const child = this.#current
    if (child === undefined || !child.kill('SIGSTOP')) return false
    await sleep(ms)
    child.kill('SIGCONT')
    return true
  }

  /** Freezes the process, lets another one take its name meanwhile, and thaws it. */
  async usurp(ms: number): Promise<boolean> {
    const child = this.#current
    if (child === undefined || !child.kill('SIGSTOP')) return false
    void this.#spawn()
    await sleep(ms)
    child.kill('SIGCONT')
    return true
  }

  /** SIGTERM, wait for the end, and the next process. */
  async roll(): Promise<boolean> {
    const child = this.#current
    if (child === undefined) return false
    await this.#terminate(child)
    return true
  }

  /** Ends all processes in order; resolves when they are gone. */
  async stop(): Promise<void> {
    this.#wanted = false
    await Promise.all([...this.#processes].map((child) => this.#terminate(child)))
    await this.proxy.stop()
  }

  /** Ends all processes at once, for a run that is broken off. */
  abandon(): void {
    this.#wanted = false
    for (const child of this.#processes) child.kill('SIGKILL')
  }

  async #terminate(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGTERM')
    child.kill('SIGCONT')
    const late = setTimeout(() => {
      this.overdue += 1
      child.kill('SIGKILL')
    }, EXIT_GRACE_MS)
    await gone
    clearTimeout(late)
  }

  async #spawn(): Promise<void> {
    const { settings, logPath } = this.#options
    const log = openSync(logPath, 'a')
    const child = fork(PROGRAM, [JSON.stringify(settings(this.proxy.url, this.name))], {
      execArgv: ['--import', 'tsx'],
      stdio: ['ignore', log, log, 'ipc'],
    })
    closeSync(log)
    this.#processes.add(child)
    this.#current = child
    child.once('message', () => this.#consuming.add(child))
    child.once('exit', (code, signal) => this.#onExit(child, code, signal))
    await Promise.race([once(child, 'message'), once(child, 'exit')])
  }

  #onExit(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null): void {
    this.#processes.delete(child)
    if (code !== 0 && signal !== 'SIGKILL') this.deaths += 1
    if (this.#current !== child) return
    // One that wanted to take the name of another that still lives has failed: the other one keeps the place.
    this.#current = [...this.#processes].at(-1)
    if (!this.#wanted || this.#current !== undefined) return
    setTimeout(() => {
      if (this.#wanted && this.#current === undefined) void this.#spawn()
    }, this.#pauses.get(child) ?? COME_BACK_MS)
  }
}
