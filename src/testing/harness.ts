import { randomUUID } from 'node:crypto'
import type { AgentContract, ContractResult } from '../agent/contract.ts'
import type { GatewayWorker } from '../agent/worker.ts'
import { checkCallback } from '../client/callback.ts'
import { GatewayClient } from '../client/client.ts'
import { foldEvents } from '../client/fold.ts'
import type { SendContractRequest, SendMessageRequest } from '../client/request.ts'
import type { AskOptions } from '../client/results.ts'
import type { TaskResult } from '../client/task-result.ts'
import { GatewayError } from '../errors.ts'
import { createLogger } from '../logger.ts'
import type { SessionEvent } from '../protocol/event.ts'
import { makeDetachable } from '../util/detachable.ts'
import { requireObject } from '../util/parse-options.ts'
import { extendsWorker, type RunWorkerOptions } from '../worker/options.ts'
import { runWorker } from '../worker/run-worker.ts'
import type { RunningWorker } from '../worker/worker-runtime.ts'
import { type HarnessRedis, openHarnessRedis } from './harness-redis.ts'
import { type WaitForOptions, waitFor } from './wait-for.ts'

/** An agent as a harness takes it: a class, or an object. */
export type HarnessWorker = (new () => GatewayWorker) | GatewayWorker

type WorkerSettings = Omit<RunWorkerOptions, 'worker' | 'workerClass' | 'workerId' | 'redis' | 'keyPrefix'>
type StartSettings = WorkerSettings & { readonly workerId?: string | undefined }

/** What a harness is made of; all but the agents are options of `runWorker`, for all of its workers. */
export interface TestHarnessOptions extends WorkerSettings {
  /** One worker is started for each. */
  readonly workers: readonly HarnessWorker[]
  /**
   * URL of a Redis that runs already; the harness uses a key prefix of its own there and removes its keys in the end.
   * Default: a private Redis for this harness alone.
   */
  readonly redis?: string | undefined
  /**
   * How long an ask waits unless it says otherwise, in ms. Default 4,000: less than the patience of most test runners, so
   * that the error tells what was waited for.
   */
  readonly askTimeoutMs?: number | undefined
}

/** A message as a test sends it: what it does not care about has a default. */
export type TestRequest = Omit<SendMessageRequest, 'sessionId' | 'targetAgentType'> & {
  readonly sessionId?: string | undefined
  readonly targetAgentType?: string | undefined
} & AskOptions

/** The same by contract. */
export type TestContractRequest<Contract extends AgentContract> = Omit<SendContractRequest<Contract>, 'sessionId'> & {
  readonly sessionId?: string | undefined
} & AskOptions

/** A result, and how it came about. */
export interface TestAnswer<Data = unknown> extends TaskResult<Data> {
  readonly sessionId: string
  /** All events of the task, in order, with its `done`. */
  readonly events: readonly SessionEvent[]
  /** The streamed text as it stands, without what was taken back. */
  readonly text: string
}

const ASK_TIMEOUT_MS = 4_000
/** A test that leaves a task hanging is not to wait for it. */
const SHUTDOWN_TIMEOUT_MS = 1_000
/** Retries happen as in production, only sooner. */
const BACKOFF = { type: 'fixed', delayMs: 10 } as const

/**
 * Starts agents on a Redis of their own, with a client to ask them. Hold it with `await using`, or `close()` it.
 *
 * Where nothing else is said, workers log nothing, retry after 10 ms, and are given one second to stop.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT`, and what `startLocalRedis` and `runWorker` throw; nothing stays open then.
 */
export async function createTestHarness(options: TestHarnessOptions): Promise<TestHarness> {
  requireObject('the options of createTestHarness', options)
  const { workers, redis: url, askTimeoutMs = ASK_TIMEOUT_MS, ...settings } = options
  if (!Array.isArray(workers)) {
    const reason = 'must be an array of agents'
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'workers', value: workers, reason })
  }
  const redis = await openHarnessRedis(url)
  const harness = await harnessOn(redis, settings, askTimeoutMs)
  // All of them come to an end of their start before any is stopped.
  const started = await Promise.allSettled(workers.map((worker) => harness.startWorker(worker)))
  const failure = started.find(({ status }) => status === 'rejected')
  if (failure?.status === 'rejected') {
    // Why nothing started is said, and not what came of closing: where Redis cannot be reached, that fails as well.
    await Promise.allSettled([harness.close()])
    throw failure.reason
  }
  return harness
}

/** A harness without workers; a Redis whose client is refused does not stay open. */
async function harnessOn(redis: HarnessRedis, settings: WorkerSettings, askTimeoutMs: number): Promise<TestHarness> {
  try {
    return new TestHarness(redis, settings, askTimeoutMs)
  } catch (error) {
    await Promise.allSettled([redis.close()])
    throw error
  }
}

/** Running agents and a client; made by {@link createTestHarness}. */
export class TestHarness implements AsyncDisposable {
  readonly redisUrl: string
  /** The first part of all keys, for clients and workers that a test makes itself. */
  readonly keyPrefix: string
  readonly client: GatewayClient
  readonly #redis: HarnessRedis
  readonly #settings: WorkerSettings
  readonly #askTimeoutMs: number
  /** By the order in which their start was asked for, which is not that in which they came up. */
  readonly #workers = new Map<number, RunningWorker>()
  /** Starts that have not come to their end, and with it, after `close()`, to their stop. */
  readonly #starting = new Set<Promise<RunningWorker>>()
  #asked = 0
  #closing: Promise<void> | undefined

  constructor(redis: HarnessRedis, settings: WorkerSettings, askTimeoutMs: number) {
    this.#redis = redis
    this.#askTimeoutMs = askTimeoutMs
    this.#settings = { logger: createLogger('silent'), shutdownTimeoutMs: SHUTDOWN_TIMEOUT_MS, ...said(settings) }
    this.redisUrl = redis.url
    this.keyPrefix = redis.keyPrefix
    this.client = new GatewayClient({ redis: redis.url, keyPrefix: redis.keyPrefix, logger: this.#settings.logger })
    makeDetachable<TestHarness>(this, 'ask', 'settled', 'startWorker', 'close')
  }

  /**
   * The first of the workers that were started.
   *
   * @throws GatewayError `GW_INVALID_ARGUMENT` when there is none.
   */
  get worker(): RunningWorker {
    const [first] = this.workers
    if (first !== undefined) return first
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'workers', value: [], reason: 'there is no worker' })
  }

  /** The workers that were started, also those that have stopped. */
  get workers(): readonly RunningWorker[] {
    return [...this.#workers].sort(([a], [b]) => a - b).map(([, worker]) => worker)
  }

  /**
   * Starts one more worker; `options` go before those of the harness.
   *
   * @throws GatewayError like `runWorker`, and `GW_CLOSED` after `close()`.
   */
  async startWorker(worker: HarnessWorker, options: StartSettings = {}): Promise<RunningWorker> {
    this.#requireOpen()
    const starting = this.#start(worker, options)
    this.#starting.add(starting)
    try {
      return await starting
    } finally {
      this.#starting.delete(starting)
    }
  }

  async #start(worker: HarnessWorker, options: StartSettings): Promise<RunningWorker> {
    const place = this.#asked++
    const settings = { ...this.#settings, ...said(options) }
    const running = await runWorker({
      ...settings,
      ...(extendsWorker(worker) ? { workerClass: worker } : { worker: worker as GatewayWorker }),
      ...{
        redis: this.redisUrl,
        keyPrefix: this.keyPrefix,
        retry: { backoff: BACKOFF, ...said(settings.retry ?? {}) },
      },
    })
    this.#workers.set(place, running)
    // Closed meanwhile: it came too late to be stopped with the others.
    if (this.#closing !== undefined) await running.stop()
    this.#requireOpen()
    return running
  }

  /**
   * Sends a message, waits for the end of its task, and answers all that came of it. A plain text will do: without
   * `sessionId` each ask has a new session, without `targetAgentType` the only capability there is takes it.
   *
   * @throws GatewayError `GW_TIMEOUT` after `timeoutMs` (default `askTimeoutMs`), `GW_SEND_REFUSED`, or `GW_INVALID_ARGUMENT`
   * when it is not clear who is meant. A task that failed is an answer.
   */
  ask<Contract extends AgentContract>(
    request: TestContractRequest<Contract>,
  ): Promise<TestAnswer<ContractResult<Contract>>>
  ask<Data = unknown>(request: TestRequest | string): Promise<TestAnswer<Data>>
  async ask(request: TestRequest | TestContractRequest<AgentContract> | string): Promise<TestAnswer> {
    const given = typeof request === 'string' ? { content: request } : request
    requireObject('the request', given)
    checkCallback('onEvent', given.onEvent)
    const target = 'target' in given ? {} : { targetAgentType: given.targetAgentType ?? this.#onlyCapability() }
    const sessionId = given.sessionId ?? `session-${randomUUID()}`
    const events: SessionEvent[] = []
    const onEvent = (event: SessionEvent) => {
      events.push(event)
      return given.onEvent?.(event)
    }
    const timeoutMs = given.timeoutMs ?? this.#askTimeoutMs
    const message = { ...given, ...target, timeoutMs, sessionId, onEvent }
    const result = await this.client.ask(message as SendMessageRequest & AskOptions)
    return { ...result, sessionId, events, text: foldEvents(events).tasks[0]?.text ?? '' }
  }

  /**
   * Resolves when every task that was sent has come to its end, those included that wait for a retry or a delay.
   *
   * @throws Error that names the tasks which have not when the time is up.
   */
  async settled(options: WaitForOptions = {}): Promise<void> {
    let open: string[] = []
    const message = () => `the end of ${open.join(', ') || 'all tasks'}`
    const look = async () => {
      const tasks = await this.client.listTasks({ limit: Number.MAX_SAFE_INTEGER })
      open = tasks
        .filter(({ finishedAt }) => finishedAt === null)
        .map(({ messageId, agentType, status }) => `${messageId} (${agentType}, ${status})`)
      return open.length === 0
    }
    await waitFor(look, { message, ...options })
  }

  /** Stops the workers, closes the client, and removes the Redis or what was written there. Once, however often called. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    const stopped = await Promise.allSettled(this.workers.map((worker) => worker.stop()))
    // Without Redis they would neither come up nor stop; whoever started them is told how that went.
    await Promise.allSettled(this.#starting)
    const closed = await Promise.allSettled([this.client.close()])
    const removed = await Promise.allSettled([this.#redis.close()])
    const failure = [...stopped, ...closed, ...removed].find(({ status }) => status === 'rejected')
    if (failure?.status === 'rejected') throw failure.reason
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) throw new GatewayError('GW_CLOSED', { what: 'test harness' })
  }

  #onlyCapability(): string {
    const names = [...new Set(this.workers.flatMap(({ capabilities }) => capabilities))]
    if (names.length === 1) return names[0] as string
    const reason = names.length === 0 ? 'there is no worker' : `there are several capabilities: ${names.join(', ')}`
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'targetAgentType', reason })
  }
}

/** What is left undefined is not said: it hides no default. */
function said<Options extends object>(options: Options): Partial<Options> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<Options>
}
