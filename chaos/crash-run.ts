import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createLogger, GatewayClient, runWorker } from 'byclaw-gateway-sdk'
import { Redis } from 'ioredis'
import { sleep } from '../src/util/sleep.ts'
import { ChaosAgent } from './agent.ts'
import { audit } from './auditor.ts'
import { sendPoison } from './conduct.ts'
import { CRASH_VARIABLE, type CrashPoint } from './crash-switch.ts'
import type { Act } from './durable/program.ts'
import type { Finding } from './evidence.ts'
import { Journal } from './journal.ts'
import { Load } from './load.ts'
import type { TaskPlan } from './plan.ts'
import { allRead, awaitRest } from './rest.ts'
import { takeSnapshot } from './snapshot.ts'
import { CAPABILITY, type DurableWork, MAX_ATTEMPTS } from './work.ts'
import type { WorkerSettings } from './worker.ts'

const PROGRAM = fileURLToPath(new URL('./worker.ts', import.meta.url))
const SESSION = 's'
const LEASE_MS = 500
const REST_MS = 20_000
const CANCEL_AFTER_MS = 50

/** What became of one crash point. */
export interface CrashOutcome {
  readonly point: Omit<CrashPoint, 'journal'>
  /** Which call the process died at; null if the whole run passed without coming to it. */
  readonly died: string | null
  readonly findings: readonly Finding[]
}

export interface CrashRunOptions {
  readonly redisPort: number
  readonly folder: string
  readonly call: number
  readonly when: CrashPoint['when']
  readonly load: CrashLoad
}

/** Tasks without durable calls; tasks that call, ask and wait in memory; the same with every wait outside of it. */
export const CRASH_LOADS = ['plain', 'durable', 'suspended'] as const

export type CrashLoad = (typeof CRASH_LOADS)[number]

/** One crash point: a small workload, a worker that dies there, another one that finishes, and an audit. */
export class CrashRun {
  readonly #options: CrashRunOptions
  readonly #prefix: string
  readonly #journalPath: string
  readonly #journal: Journal
  readonly #redis: Redis
  readonly #client: GatewayClient
  readonly #load: Load
  readonly #tasks: readonly TaskPlan[]

  constructor(options: CrashRunOptions) {
    this.#options = options
    this.#prefix = `crash-${options.load}-${options.when}-${options.call}`
    this.#journalPath = join(options.folder, `${this.#prefix}.jsonl`)
    this.#journal = new Journal(this.#journalPath)
    this.#redis = new Redis(options.redisPort, '127.0.0.1', { protocol: 2 })
    const logger = createLogger('silent')
    this.#client = new GatewayClient({ redis: this.#url, keyPrefix: this.#prefix, logger })
    this.#load = new Load(this.#client, this.#journal)
    this.#tasks = options.load === 'plain' ? plainTasks() : durableTasks()
  }

  async run(): Promise<CrashOutcome> {
    try {
      return await this.#run()
    } finally {
      await this.#client.close()
      this.#redis.disconnect()
      this.#journal.close()
    }
  }

  get #url(): string {
    return `redis://127.0.0.1:${this.#options.redisPort}/0`
  }

  async #run(): Promise<CrashOutcome> {
    const { call, when } = this.#options
    const readers = [{ reader: 'follower', session: SESSION, atMs: 0 }]
    for (const reader of readers) this.#load.read(reader)
    for (const task of this.#tasks) this.#load.send(task)
    await sendPoison(this.#redis, this.#prefix, this.#journal)
    const passed = await this.#letOneDie()
    const scene = { redis: this.#redis, prefix: this.#prefix, load: this.#load }
    await this.#letAnotherFinish(() => awaitRest(scene, this.#tasks, REST_MS))
    await allRead(scene, readers, REST_MS)
    await this.#load.stop()
    const redis = await takeSnapshot(this.#redis, this.#prefix, [SESSION], [CAPABILITY])
    const journal = Journal.read(this.#journalPath)
    const crash = journal.find((entry) => entry.kind === 'fault')
    const died = passed ? null : crash?.kind === 'fault' ? crash.target : 'somewhere else'
    return { point: { call, when }, died, findings: audit({ journal, redis, readers }) }
  }

  /** Runs the worker that is to die until it does, or until all is done and it has stopped in order: true. */
  async #letOneDie(): Promise<boolean> {
    const child = this.#fork()
    const over = new AbortController()
    const gone = once(child, 'exit').then(([code]) => {
      over.abort()
      return code === 0
    })
    void this.#cancelWhenConsuming(child, over.signal)
    const scene = { redis: this.#redis, prefix: this.#prefix, load: this.#load }
    await awaitRest(scene, this.#tasks, REST_MS, over.signal)
    child.kill('SIGTERM')
    return gone
  }

  async #letAnotherFinish(isOver: () => Promise<unknown>): Promise<void> {
    // Every other one bears the name of the dead.
    const workerId = this.#options.call % 2 === 0 ? 'mortal' : 'heir'
    const worker = new ChaosAgent(CAPABILITY, this.#journal)
    const running = await runWorker({
      ...this.#workerOptions(workerId),
      redis: this.#url,
      worker,
      logger: createLogger('silent'),
    })
    await isOver()
    await running.stop()
  }

  #fork(): ChildProcess {
    const { call, when, folder } = this.#options
    const settings: WorkerSettings = {
      journal: this.#journalPath,
      capability: CAPABILITY,
      redis: this.#url,
      options: this.#workerOptions('mortal'),
    }
    const point: CrashPoint = { call, when, journal: this.#journalPath }
    const log = openSync(join(folder, `${this.#prefix}.log`), 'a')
    const child = fork(PROGRAM, [JSON.stringify(settings)], {
      execArgv: ['--import', 'tsx'],
      stdio: ['ignore', log, log, 'ipc'],
      env: { ...process.env, [CRASH_VARIABLE]: JSON.stringify(point) },
    })
    closeSync(log)
    return child
  }

  #workerOptions(workerId: string): WorkerSettings['options'] {
    return {
      ...{ workerId, keyPrefix: this.#prefix, leaseMs: LEASE_MS, maxConcurrency: 2 },
      ...(this.#options.load === 'plain' ? {} : { suspendAfterMs: this.#options.load === 'suspended' ? 0 : 60_000 }),
      ...{ shutdownTimeoutMs: 1_000, workspaceDir: join(this.#options.folder, 'workspace') },
      retry: { maxAttempts: MAX_ATTEMPTS, backoff: { type: 'fixed', delayMs: 50 } },
    }
  }

  /** Cancels what is to be cancelled while it runs, or, if the process has died before, while it waits. */
  async #cancelWhenConsuming(child: ChildProcess, over: AbortSignal): Promise<void> {
    await Promise.race([once(child, 'message'), once(child, 'exit')])
    await sleep(CANCEL_AFTER_MS, over)
    for (const task of this.#tasks) if (task.cancelMode !== undefined) this.#load.cancel(task)
  }
}

/** One task of each sort, so few that every call of the loop is about few of them. */
function plainTasks(): TaskPlan[] {
  return planned([
    { work: { kind: 'quick' } },
    { work: { kind: 'chunks', count: 3, pauseMs: 5 } },
    { work: { kind: 'fail', count: 2 } },
    { work: { kind: 'terminal', count: 0 } },
    { work: { kind: 'chunks', count: 4, pauseMs: 0 } },
    { work: { kind: 'flaky', count: 2, times: 1 } },
    { work: { kind: 'long', count: 20, pauseMs: 500 }, cancelMode: 'graceful' },
    { work: { kind: 'quick' }, delayMs: 1_000 },
    { work: { kind: 'quick' }, expiresInMs: 1 },
  ])
}

/** Each sort of durable operation once or twice; one fails on the way, one is cancelled while it waits. */
function durableTasks(): TaskPlan[] {
  const child = durable({ do: 'say', count: 2, pauseMs: 0 })
  const failing = durable({ do: 'say', count: 1, pauseMs: 0 }, { do: 'fail' })
  return planned([
    {
      work: durable(
        { do: 'say', count: 2, pauseMs: 0 },
        { do: 'call', work: durable({ do: 'step', count: 2, pauseMs: 0 }, { do: 'call', work: child }) },
        { do: 'call', work: failing },
        { do: 'sleep', ms: 100 },
        { do: 'say', count: 1, pauseMs: 0 },
      ),
    },
    {
      work: durable(
        { do: 'step', count: 2, pauseMs: 0 },
        { do: 'step', count: 2, pauseMs: 0, throws: true },
        { do: 'all', works: [child, child] },
        { do: 'group', works: [child, failing], failFast: false },
        { do: 'race', works: [child, child], waitsForAll: true },
        { do: 'values' },
      ),
    },
    {
      work: durable({ do: 'ask' }, { do: 'trip', times: 1 }, { do: 'call', work: child }, { do: 'send', work: child }),
    },
    { work: durable({ do: 'call', work: durable({ do: 'sleep', ms: 10_000 }) }), cancelMode: 'graceful' },
  ])
}

function durable(...acts: Act[]): DurableWork {
  return { kind: 'durable', acts }
}

function planned(sorts: readonly Omit<TaskPlan, 'task' | 'session' | 'atMs' | 'persistent'>[]): TaskPlan[] {
  return sorts.map((each, index) => ({
    ...{ task: `t${index}`, session: SESSION, atMs: 0, persistent: true },
    ...each,
  }))
}
