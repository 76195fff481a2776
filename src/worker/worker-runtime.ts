import type { Plugins } from '../agent/plugin-registry.ts'
import { errorMessage, GatewayError } from '../errors.ts'
import type { HistoryState } from '../history/keeper.ts'
import { checkServer } from '../redis/server-check.ts'
import { Service } from '../service.ts'
import { makeDetachable } from '../util/detachable.ts'
import { sleep } from '../util/sleep.ts'
import { MOST_TIMER_MS } from '../util/timer.ts'
import { untilAborted } from '../util/until-aborted.ts'
import type { ResolvedWorkerOptions } from './options.ts'
import { WorkerParts } from './parts.ts'

/** After this long without a sign of life a consumer that owns nothing is removed from its group. */
const CONSUMER_IDLE_MS = 600_000
/** How much longer than its tasks' time a shutdown may take, in ms. */
const STOP_GRACE_MS = 3_000
/** What closed connections leave to be done, done without them. */
const AFTER_CLOSE_MS = 2_000

/** A worker that consumes. */
export interface RunningWorker extends AsyncDisposable {
  readonly workerId: string
  readonly capabilities: readonly string[]
  /** Tasks in flight now. */
  readonly running: number
  /** Takes nothing new, lets running tasks finish within `shutdownTimeoutMs`, then resolves. Once, however often called. */
  stop(): Promise<void>
  /** How its history is: whether it answers, and what had to be put by. */
  readonly history: HistoryState
  /** Resolves when the worker has stopped, for whatever reason. */
  readonly stopped: Promise<void>
  /** Its plugins, to be looked at and changed while it runs. */
  readonly plugins: Plugins
}

/** Starts and stops a worker's loops in order. */
export class WorkerRuntime extends Service implements RunningWorker {
  readonly workerId: string
  readonly capabilities: readonly string[]
  readonly stopped: Promise<void>
  readonly #options: ResolvedWorkerOptions
  readonly #parts: WorkerParts
  #markStopped!: () => void
  /** Aborts when a stop has taken too long. */
  readonly #overtime = new AbortController()
  /** Aborts when a start that is to be stopped has had its time. */
  readonly #givenUp = new AbortController()
  /** The time of a stop that came in the middle of the start. */
  #earlyStop: AbortController | undefined
  /** Whether `onStartup` has come to its end, and `onShutdown` is still to come. */
  #isStartedUp = false

  constructor(options: ResolvedWorkerOptions) {
    super()
    this.#options = options
    this.workerId = options.workerId
    this.stopped = new Promise((resolve) => {
      this.#markStopped = resolve
    })
    this.#parts = new WorkerParts(options, (reason) => {
      const { logger } = this.#parts
      logger.error({ reason }, 'another process took over the id of this worker, stopping')
      this.stop().catch((error: unknown) => logger.error({ reason: errorMessage(error) }, 'the stop failed'))
    })
    this.capabilities = this.#parts.capabilities
    makeDetachable<RunningWorker>(this, 'stop')
  }

  get running(): number {
    return this.#parts.slots.used
  }

  get history(): HistoryState {
    return this.#parts.history?.state ?? { status: 'OFF', putBy: 0, lost: 0 }
  }

  get plugins(): Plugins {
    return this.#parts.plugins
  }

  protected override async onStart(): Promise<void> {
    const { signal } = this.#givenUp
    try {
      await untilAborted(this.#comeUp(signal), signal)
      signal.throwIfAborted()
    } catch (error) {
      await this.#inTime(this.#takeDown())
      this.#parts.connections.close()
      this.#markStopped()
      throw error
    } finally {
      this.#earlyStop?.abort()
    }
  }

  /** Goes no further than where it is when `signal` aborts. */
  async #comeUp(signal: AbortSignal): Promise<void> {
    const { connections, redis, logger, capabilities, ...parts } = this.#parts
    const { target } = connections
    // Its thread loads meanwhile, longer than all this takes.
    await parts.keeper.start()
    await connections.check(redis, this.#options.connectTimeoutMs)
    const { version, warnings } = await checkServer(redis)
    for (const warning of warnings) logger.warn({ target }, warning)
    await parts.registration.start()
    signal.throwIfAborted()
    await parts.keeper.keep()
    await parts.workspaces.start()
    await this.#options.worker.onStartup?.()
    this.#isStartedUp = true
    signal.throwIfAborted()
    await parts.history?.start()
    // Whoever reads of its plugins may order it to load them anew.
    await parts.inbox.open()
    await parts.supply.start()
    await parts.inbox.start()
    // What is left of this worker's former life comes before anything new.
    await parts.reclaimer.start()
    await Promise.all(parts.intakes.map((intake) => intake.start()))
    await parts.stores.leases.tend(parts.streams)
    await parts.ownLanes.start()
    await Promise.all([parts.promoter, parts.watch, parts.waits].map((service) => service.start()))
    logger.info({ capabilities, redis: target, redisVersion: version }, 'worker is consuming')
  }

  /** After a start that failed; what it had taken by then is for others at once. */
  async #takeDown(): Promise<void> {
    const { supply, plugins, history, workspaces, keeper, registration } = this.#parts
    this.#giveUp()
    // Nothing of the others that hangs is to keep it on the list of those that live.
    const left = keeper.stop().then(() => registration.stop())
    await this.#stopTaking()
    await this.#settle()
    await supply.stop()
    await plugins.close()
    await history?.stop()
    await workspaces.stop()
    await left
    await this.#shutDown().catch((error: unknown) => {
      this.#parts.logger.error({ reason: errorMessage(error) }, 'onShutdown failed after a start that failed')
    })
  }

  /** Lets go what `onStartup` has opened. */
  async #shutDown(): Promise<void> {
    if (!this.#isStartedUp) return
    this.#isStartedUp = false
    await this.#options.worker.onShutdown?.()
  }

  protected override onEarlyStop(): void {
    const stop = this.#limitTime()
    this.#earlyStop = stop
    // Before the connections are closed, over which it takes itself off the list.
    void sleep(this.#options.shutdownTimeoutMs, stop.signal).then(() => {
      if (!stop.signal.aborted) this.#givenUp.abort(new GatewayError('GW_SHUTDOWN', { workerId: this.workerId }))
    })
  }

  protected override async onStop(): Promise<void> {
    const { connections, keeper, logger, losses } = this.#parts
    const stop = this.#limitTime()
    try {
      await this.#inTime(this.#leave())
    } finally {
      stop.abort()
      losses.close()
      connections.close()
      // Nothing that hangs, or has failed, is to keep it on the list of those that live.
      await keeper.stop().finally(() => this.#markStopped())
      logger.info({}, 'worker has stopped')
    }
  }

  /**
   * Begins the time that a stop may take, until what is answered aborts. Commands wait for a Redis that is away; a worker
   * that is to stop does not. What it leaves behind is taken over.
   */
  #limitTime(): AbortController {
    const { connections, logger } = this.#parts
    const stop = new AbortController()
    const limitMs = Math.min(this.#options.shutdownTimeoutMs + STOP_GRACE_MS, MOST_TIMER_MS)
    void sleep(limitMs, stop.signal).then(() => {
      if (stop.signal.aborted) return
      logger.warn({}, 'the orderly shutdown takes too long, closing the connections')
      connections.close()
      this.#overtime.abort()
    })
    return stop
  }

  /** Waits for what is done for a stop, but not for long once its time is over. */
  async #inTime(work: Promise<void>): Promise<void> {
    await untilAborted(work, this.#overtime.signal)
    if (!this.#overtime.signal.aborted) return
    const done = new AbortController()
    try {
      await Promise.race([work, sleep(AFTER_CLOSE_MS, done.signal)])
    } finally {
      done.abort()
    }
  }

  async #leave(): Promise<void> {
    const { waits, supply, plugins, history, workspaces, keeper, registration } = this.#parts
    await this.#stopTaking()
    waits.hurry()
    await this.#drain()
    await this.#settle()
    await supply.stop()
    await plugins.close()
    await history?.stop()
    await workspaces.stop()
    await keeper.stop()
    await this.#forgetConsumer()
    await registration.stop()
    await this.#shutDown()
  }

  async #stopTaking(): Promise<void> {
    const { reclaimer, promoter, ownLanes, intakes } = this.#parts
    await Promise.all([reclaimer, promoter, ownLanes, ...intakes].map((service) => service.stop()))
  }

  /** Lets running tasks finish within their time; those that do not are given up. */
  async #drain(): Promise<void> {
    const { slots, executions, logger } = this.#parts
    const timer = new AbortController()
    void slots.drained().then(() => timer.abort())
    await sleep(this.#options.shutdownTimeoutMs, timer.signal)
    if (timer.signal.aborted) return
    logger.warn({ running: executions.size }, 'shutdown time is up, running tasks are given up')
    this.#giveUp()
  }

  /** Breaks off what runs, for another worker to end. */
  #giveUp(): void {
    this.#parts.executions.abortAll(new GatewayError('GW_SHUTDOWN', { workerId: this.workerId }))
  }

  /** Resolves when nothing runs any more, and all that was taken is acked or back. */
  async #settle(): Promise<void> {
    const { slots, intakes, watch, waits, inbox } = this.#parts
    await slots.drained()
    // Until here what still runs can be cancelled.
    await Promise.all([watch, waits, inbox].map((service) => service.stop()))
    await Promise.all(intakes.map((intake) => intake.settled()))
  }

  /** A worker that comes back under another name is not to leave its old one in every group. */
  async #forgetConsumer(): Promise<void> {
    const { streams, stores, ownLanes, logger } = this.#parts
    try {
      await ownLanes.leave()
      await Promise.all(streams.map(({ key }) => stores.leases.removeConsumers(key, CONSUMER_IDLE_MS, true)))
    } catch (error) {
      logger.debug({ err: error }, 'the consumer was not removed; other workers will')
    }
  }
}
