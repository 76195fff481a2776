import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { sleep } from '../src/util/sleep.ts'
import type { Network, Way } from '../test/support/network.ts'
import type { Servers } from './servers.ts'
import type { WorkerSettings } from './worker.ts'

const PROGRAM = fileURLToPath(new URL('./worker.ts', import.meta.url))
/** A worker that is told to do wrong runs the sources. */
const FROM_SOURCES = fileURLToPath(new URL('sabotage.tsconfig.json', import.meta.url))
const COME_BACK_MS = 100
/** How much longer than its shutdown time a worker may take to end. */
const EXIT_GRACE_MS = 15_000

interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Where the log ended when the process began. */
  readonly logFrom: number
}

export interface MemberOptions {
  readonly name: string
  readonly servers: Servers
  readonly logPath: string
  /** Settings of the worker, whose way to Redis is the member's own. */
  readonly settings: (redis: Way, name: string) => WorkerSettings
}

/**
 * One worker of the fleet: a place with a name and a network of its own, in which one process runs after another. While
 * it is `wanted`, whatever ends its process, another one follows.
 */
export class Member {
  readonly name: string
  readonly network: Network
  /** How often a process did not end in time after SIGTERM. */
  overdue = 0
  /** Why processes ended by an error of their own. */
  readonly deaths: string[] = []
  /** How often one that came for the name of another did not get it, because the other one lived. */
  refused = 0
  /** How often one that started gave up because Redis could not be reached then. */
  away = 0
  /** How often SIGTERM came to a process that had not got so far as to listen to it. */
  unready = 0
  readonly #options: MemberOptions
  readonly #processes = new Set<ChildProcess>()
  readonly #consuming = new WeakSet<ChildProcess>()
  readonly #asked = new WeakSet<ChildProcess>()
  readonly #pauses = new WeakMap<ChildProcess, number>()
  #current: ChildProcess | undefined
  #wanted = false

  private constructor(options: MemberOptions, network: Network) {
    this.#options = options
    this.name = options.name
    this.network = network
  }

  static async create(options: MemberOptions): Promise<Member> {
    return new Member(options, await options.servers.lay())
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
    await this.network.stop()
  }

  /** Ends all processes at once, for a run that is broken off. */
  abandon(): void {
    this.#wanted = false
    for (const child of this.#processes) child.kill('SIGKILL')
  }

  async #terminate(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    this.#asked.add(child)
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
    const { size } = fstatSync(log)
    const given = settings(this.network.way, this.name)
    const child = fork(PROGRAM, [JSON.stringify(given)], {
      execArgv: ['--import', 'tsx'],
      env: given.sabotage === undefined ? process.env : { ...process.env, TSX_TSCONFIG_PATH: FROM_SOURCES },
      stdio: ['ignore', log, log, 'ipc'],
    })
    closeSync(log)
    this.#processes.add(child)
    this.#current = child
    child.once('message', () => this.#consuming.add(child))
    child.once('exit', (code, signal) => {
      this.#judge(child, { code, signal, logFrom: size })
      this.#onExit(child)
    })
    await Promise.race([once(child, 'message'), once(child, 'exit')])
  }

  /** Notes how a process ended that was not killed and did not end in order. */
  #judge(child: ChildProcess, { code, signal, logFrom }: Exit): void {
    if (code === 0 || signal === 'SIGKILL') return
    if (signal === 'SIGTERM' && this.#asked.has(child)) {
      this.unready += 1
      return
    }
    // Several processes of a place may write at once, so this is what was said since it began, by whomever.
    const said = readFileSync(this.#options.logPath).subarray(logFrom).toString()
    const error = /^\w*Error: .*$/m.exec(said)?.[0] ?? 'nothing was said'
    if (/ is in use by a live worker/.test(error)) this.refused += 1
    else if (/ cannot be reached: /.test(error)) this.away += 1
    else if (/ is shutting down/.test(error) && this.#asked.has(child)) this.unready += 1
    else this.deaths.push(`${this.name} (pid ${child.pid}, ${signal ?? code}): ${error}`)
  }

  #onExit(child: ChildProcess): void {
    this.#processes.delete(child)
    if (this.#current !== child) return
    // One that wanted to take the name of another that still lives has failed: the other one keeps the place.
    this.#current = [...this.#processes].at(-1)
    if (!this.#wanted || this.#current !== undefined) return
    setTimeout(() => {
      if (this.#wanted && this.#current === undefined) void this.#spawn()
    }, this.#pauses.get(child) ?? COME_BACK_MS)
  }
}
