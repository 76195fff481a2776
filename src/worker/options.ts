import { randomBytes } from 'node:crypto'
import { statSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import path from 'node:path'
import { z } from 'zod'
import type { HistoryStore } from '../agent/history.ts'
import type { PluginDefinition } from '../agent/plugin.ts'
import type { PluginConfigurator } from '../agent/plugin-registry.ts'
import type { BackoffFunction, RetryPolicy } from '../agent/retry.ts'
import { GatewayWorker } from '../agent/worker.ts'
import { GatewayError } from '../errors.ts'
import { checkHistory } from '../history/check.ts'
import { MemoryHistory } from '../history/memory.ts'
import { checkLogger, createLogger, type Logger } from '../logger.ts'
import { idFault, versionFault } from '../protocol/ids.ts'
import { backoffRule, maxAttempts } from '../protocol/task-options.ts'
import { resolveRedis } from '../redis/environment.ts'
import type { RedisOption, ResolvedRedis } from '../redis/options.ts'
import { DEFAULT_GROUP } from '../store/control-streams.ts'
import { DEFAULT_RETENTION } from '../store/retention.ts'
import { parseOptions, requireObject } from '../util/parse-options.ts'
import { MOST_TIMER_MS } from '../util/timer.ts'

const count = (most: number) => z.number().int().min(1).max(most)
const ms = z.number().int().min(1)
/** What a timer of Node can wait for; longer ones would fire at once. */
const timer = z.number().int().max(MOST_TIMER_MS)
const timerMs = timer.min(1)
const workerId = z.string().refine((value) => idFault(value) === null, { error: () => idFault('') ?? '' })

/** A name or a path. */
const name = z.string().refine((value) => value.trim() !== '', 'must not be blank')

const version = z
  .string()
  .refine((value) => versionFault(value) === null, { error: ({ input }) => versionFault(input) ?? '' })

const backoffFunction = z.custom<BackoffFunction>(
  (value) => typeof value === 'function',
  'must be a function, or a rule with type and delayMs',
)
const retryPolicy = z.strictObject({
  maxAttempts: maxAttempts.optional(),
  backoff: z.union([backoffFunction, backoffRule]).optional(),
})

const plugin = z.custom<PluginDefinition>(
  (value) => typeof value === 'object' && value !== null,
  'must be a plugin, or the name of one',
)

/** All that can be checked by its form alone. The defaults stand here and nowhere else. */
const schema = z.strictObject({
  workerId: workerId.default(
    () => `${hostname().replace(/[\s{}]/g, '_')}-${process.pid}-${randomBytes(4).toString('hex')}`,
  ),
  keyPrefix: z
    .string()
    .regex(/^[^\s{}]{1,128}$/, 'must be 1 to 128 characters without spaces and { }')
    .default('queue'),
  consumerGroup: name.default(DEFAULT_GROUP),
  // An ack names all entries of a batch in one call, and Lua's stack ends at some 8,000 values.
  maxConcurrency: count(5_000).default(50),
  fetchCount: count(5_000).default(10),
  leaseMs: timerMs.min(100).default(5_000),
  blockedAfterMs: timerMs.default(300_000),
  maxDeliveries: count(1_000_000).default(5),
  retry: retryPolicy.extend({ capabilities: z.record(z.string(), retryPolicy).optional() }).optional(),
  taskTimeoutMs: timerMs.optional(),
  cancelGraceMs: timer.min(0).default(30_000),
  suspendAfterMs: timer.min(0).default(30_000),
  coalesceMs: z.number().int().min(0).max(1_000).default(0),
  onNonDeterminism: z.enum(['fail', 'restart']).default('fail'),
  version: version.optional(),
  compatibleVersions: z.array(version).max(16).default([]),
  shutdownTimeoutMs: timer.min(0).default(30_000),
  connectTimeoutMs: timerMs.default(5_000),
  workspaceDir: name.default(() => path.join(tmpdir(), 'byclaw-workspace')),
  maxPayloadBytes: count(512 * 1_048_576).default(1_048_576),
  resultTtlMs: ms.default(DEFAULT_RETENTION.resultTtlMs),
  streamTtlMs: ms.default(DEFAULT_RETENTION.streamTtlMs),
  streamMaxLength: count(Number.MAX_SAFE_INTEGER).default(DEFAULT_RETENTION.streamMaxLength),
  plugins: z.array(z.union([plugin, name])).default([]),
  pluginConfigurator: z
    .custom<PluginConfigurator>((value) => typeof value === 'function', 'must be a function')
    .optional(),
  pluginDir: name.optional(),
  pluginPollMs: timerMs.default(10_000),
  handleSignals: z.boolean().default(false),
})

/** A worker's retry policy, with exceptions by capability. */
export interface WorkerRetryPolicy extends RetryPolicy {
  readonly capabilities?: Readonly<Record<string, RetryPolicy>> | undefined
}

/** How a worker runs; one of `worker` and `workerClass` is required, all else has a default. */
export interface RunWorkerOptions {
  /** The agent, as a class without constructor arguments. */
  readonly workerClass?: (new () => GatewayWorker) | undefined
  /** The agent, as an object. */
  readonly worker?: GatewayWorker | undefined
  /** Stable name of this worker; two live workers with one id: the second refuses to start. Default host-pid-random. */
  readonly workerId?: string | undefined
  /** Default from the environment (`REDIS_URL`, or `REDIS_HOST` and so on), else `redis://127.0.0.1:6379/0`. */
  readonly redis?: RedisOption | undefined
  /** First part of every key. Default `queue`. */
  readonly keyPrefix?: string | undefined
  /** Default `agent_engines`. Workers share tasks only within one group. */
  readonly consumerGroup?: string | undefined
  /** Tasks that run in this worker at a time, at most 5,000. Default 50. */
  readonly maxConcurrency?: number | undefined
  /** Most entries of each lane that the blocking read of an idle worker asks for; what is too much goes back. Default 10. */
  readonly fetchCount?: number | undefined
  /** A worker silent for this long loses its tasks to another, in ms. Default 5,000. */
  readonly leaseMs?: number | undefined
  /** A worker whose event loop is blocked for this long loses its tasks too, in ms. Default 300,000. */
  readonly blockedAfterMs?: number | undefined
  /** A task that was taken this often without an outcome (its workers died) goes to the dead letters. Default 5. */
  readonly maxDeliveries?: number | undefined
  /**
   * How often a failing task is tried, and how long to wait in between. Default 3 attempts, after 1 s, 2 s, 4 s … up to
   * 60 s, a fifth of it left to chance. `capabilities` overrides it for some, a message's own `retry` for that message.
   */
  readonly retry?: WorkerRetryPolicy | undefined
  /** An attempt that runs longer is aborted and counts as failed, in ms. Default none. */
  readonly taskTimeoutMs?: number | undefined
  /**
   * How long the handler of a cancelled task may take to come to its end, in ms; then the task ends without it, and what
   * it still writes is refused. Default 30,000.
   */
  readonly cancelGraceMs?: number | undefined
  /**
   * A task that waits this long for an agent or a person is suspended, in ms: it leaves memory and runs again from the
   * top when the answer comes. Default 30,000.
   */
  readonly suspendAfterMs?: number | undefined
  /**
   * Chunks that a task emits within so many ms become one event, at most 1,000: tokens of a model cost a seventh of
   * Redis' time so, and come so much later. A handler that awaits each has none to join it with, and chunks with metadata stay
   * by themselves. Default 0: each chunk is an event.
   */
  readonly coalesceMs?: number | undefined
  /**
   * What becomes of a task whose handler, running again, calls something else than before: `fail` (default) ends it,
   * `restart` forgets what was recorded and starts it afresh.
   */
  readonly onNonDeterminism?: 'fail' | 'restart' | undefined
  /**
   * Version of the agent's code. A task that has called, asked or recorded something runs again only in workers of the
   * version that ran it last, or of one that declares that version compatible. Default none: then nobody asks.
   */
  readonly version?: string | undefined
  /** Versions whose tasks this one can go on with; at most 16. Default none. */
  readonly compatibleVersions?: readonly string[] | undefined
  /** How long `stop()` lets tasks finish, in ms. Default 30,000. */
  readonly shutdownTimeoutMs?: number | undefined
  /** How long the start waits for Redis, in ms. Default 5,000. */
  readonly connectTimeoutMs?: number | undefined
  /**
   * Parent of the tasks' private folders. What killed workers have left in it is removed at the start, on Linux. Default
   * `<os tmp>/byclaw-workspace`.
   */
  readonly workspaceDir?: string | undefined
  /** Largest command and largest result, in bytes. Default 1 MiB. */
  readonly maxPayloadBytes?: number | undefined
  /** How long a finished task's record and result are kept, in ms. Default one day. */
  readonly resultTtlMs?: number | undefined
  /** How long a session's data stream is kept after its last event, in ms. Default one day. */
  readonly streamTtlMs?: number | undefined
  /** About how many events a session's data stream keeps. Default 200,000. */
  readonly streamMaxLength?: number | undefined
  /**
   * What adds tools, prompts, hooks and interceptors: what `definePlugin` returns or takes, or an instance of a class that
   * extends `Plugin`; one that is refused keeps the worker from starting. A text is the name of an installed package, or
   * the path of a file or folder (`./…`), which is watched. Default none.
   */
  readonly plugins?: readonly (PluginDefinition | string)[] | undefined
  /** Called after `plugins` were added, before the first task: adds more. Default none. */
  readonly pluginConfigurator?: PluginConfigurator | undefined
  /**
   * A folder in which each folder and each file of code is a plugin; it is watched, and what changes is loaded anew.
   * Default none.
   */
  readonly pluginDir?: string | undefined
  /** How often to look for changes of plugins that the system did not tell of, in ms. Default 10,000. */
  readonly pluginPollMs?: number | undefined
  /**
   * Where the session's messages are kept: `new MemoryHistory()` (default), `new RedisHistory(…)`, a `PostgresHistory` or
   * one of your own; false: nowhere. One that is given is never closed.
   */
  readonly history?: HistoryStore | false | undefined
  /** Any pino-shaped logger. Default pino. */
  readonly logger?: Logger | undefined
  /** Stop on SIGTERM and SIGINT. Default false; `byclaw-worker` sets it. */
  readonly handleSignals?: boolean | undefined
}

/** {@link RunWorkerOptions}, checked, with its defaults, frozen. */
export type ResolvedWorkerOptions = Readonly<z.infer<typeof schema>> & {
  readonly worker: GatewayWorker
  readonly redis: ResolvedRedis
  readonly logger: Logger
  readonly history: HistoryStore | undefined
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option and the value. */
export function resolveWorkerOptions(options: RunWorkerOptions): ResolvedWorkerOptions {
  requireObject('the options of runWorker', options)
  const { worker, workerClass, redis, logger, history, ...rest } = options
  return Object.freeze({
    ...resolvePlainOptions(rest),
    worker: resolveWorker(worker, workerClass),
    redis: resolveRedis(redis),
    logger: checkLogger(logger ?? createLogger()),
    history: resolveHistory(history),
  })
}

/** The options of a worker that need neither its agent nor a connection. */
export type PlainOptions = Omit<RunWorkerOptions, 'worker' | 'workerClass' | 'redis' | 'logger' | 'history'>

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option and the value. */
export function resolvePlainOptions(options: PlainOptions): Readonly<z.infer<typeof schema>> {
  const { version, compatibleVersions = [], pluginDir } = options
  if (version === undefined && compatibleVersions.length > 0) {
    const reason = 'only a worker with a version of its own can declare others compatible'
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'compatibleVersions and version', reason })
  }
  const resolved = parseOptions(schema, options)
  if (pluginDir !== undefined) requireFolder('pluginDir', pluginDir)
  return resolved
}

/** The versions whose tasks a worker goes on with, its own first; none if it has none. */
export function versionsOf({ version, compatibleVersions }: ResolvedWorkerOptions): readonly string[] {
  return version === undefined ? [] : [...new Set([version, ...compatibleVersions])]
}

function requireFolder(field: string, value: string): void {
  const folder = path.resolve(value)
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason: `there is no such folder (${folder})` })
}

function resolveHistory(history: unknown): HistoryStore | undefined {
  if (history === false) return undefined
  return history === undefined ? new MemoryHistory() : checkHistory(history)
}

function resolveWorker(worker: unknown, workerClass: unknown): GatewayWorker {
  const invalid = (field: string, reason: string) => new GatewayError('GW_INVALID_ARGUMENT', { field, reason })
  if (worker !== undefined && workerClass !== undefined) {
    throw invalid('worker and workerClass', 'only one of the two can be given')
  }
  if (worker !== undefined) {
    if (worker instanceof GatewayWorker) return requireHandler('worker', worker)
    throw invalid('worker', 'must be an instance of a class that extends GatewayWorker')
  }
  if (workerClass === undefined) throw invalid('workerClass', 'workerClass or worker must be given')
  if (!extendsWorker(workerClass)) throw invalid('workerClass', 'must be a class that extends GatewayWorker')
  return requireHandler('workerClass', new workerClass())
}

/** Without it each task would fail, and be tried again. */
function requireHandler(field: string, worker: GatewayWorker): GatewayWorker {
  if (typeof worker.processCommand === 'function') return worker
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, reason: 'has no method processCommand' })
}

/** True for a class that extends GatewayWorker, also that of another copy of this package. */
export function extendsWorker(value: unknown): value is new () => GatewayWorker {
  if (typeof value !== 'function' || typeof value.prototype !== 'object') return false
  // GatewayWorker itself bears the brand, too, but has nothing to run.
  return value.prototype !== null && Object.getPrototypeOf(value.prototype) instanceof GatewayWorker
}

/** True for such a class that is no mere base of others; one whose instances bring their handler as a field looks like that, too. */
export function isWorkerClass(value: unknown): value is new () => GatewayWorker {
  return extendsWorker(value) && typeof value.prototype.processCommand === 'function'
}
