import { AsyncLocalStorage } from 'node:async_hooks'
import type { AgentContract } from '../agent/contract.ts'
import type { DurableResources, DurableTask } from '../context/durable/durable-task.ts'
import type { Scope } from '../context/durable/scope.ts'
import { WaitDesk } from '../context/durable/wait-desk.ts'
import { Toolbox } from '../context/toolbox.ts'
import { Canceller } from '../dispatch/canceller.ts'
import { GatewayError } from '../errors.ts'
import { Aftercare } from '../execution/aftercare.ts'
import { Conclusion } from '../execution/conclusion.ts'
import type { ExecutionResources } from '../execution/execution.ts'
import { Reception } from '../execution/reception.ts'
import { HistoryBuffer } from '../history/buffer.ts'
import { HistoryKeeper, type HistoryState } from '../history/keeper.ts'
import { ServerClock } from '../history/server-clock.ts'
import type { Logger } from '../logger.ts'
import { type RedisClient, slotGroups } from '../redis/client.ts'
import { RedisConnections } from '../redis/connections.ts'
import { checkServer } from '../redis/server-check.ts'
import { Service } from '../service.ts'
import { ControlReader, type ControlStream, lanesOf, type TakenEntry } from '../store/control-streams.ts'
import { DataReader } from '../store/data-streams.ts'
import { InboxReader } from '../store/inbox.ts'
import type { WorkerIdentity } from '../store/presence.ts'
import { sleep } from '../util/sleep.ts'
import { Executions } from './executions.ts'
import { identify, readCapabilities } from './identity.ts'
import { Inbox } from './inbox.ts'
import { Intake, type RunTask } from './intake.ts'
import { LeaseKeeper } from './lease-keeper.ts'
import { LossReport } from './loss-report.ts'
import type { ResolvedWorkerOptions } from './options.ts'
import { Promoter } from './promoter.ts'
import { Reclaimer } from './reclaimer.ts'
import { Registration } from './registration.ts'
import { MOST_AWAY, Slots } from './slots.ts'
import { openStores, type WorkerStores } from './stores.ts'
import { TaskWatch } from './task-watch.ts'
import { Turnstile } from './turnstile.ts'
import { WaitWatch } from './wait-watch.ts'

/** After this long without a sign of life a consumer that owns nothing is removed from its group. */
const CONSUMER_IDLE_MS = 600_000
/** How much longer than its tasks' time a shutdown may take, in ms. */
const STOP_GRACE_MS = 3_000
/** Looks at the records of running tasks in a lease's time. */
const LOOKS_PER_LEASE = 2
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
}

/** Wires a worker's loops and starts and stops them in order. */
export class WorkerRuntime extends Service implements RunningWorker {
  readonly workerId: string
  readonly capabilities: readonly string[]
  readonly stopped: Promise<void>
  readonly #options: ResolvedWorkerOptions
  readonly #logger: Logger
  readonly #connections: RedisConnections
  readonly #redis: RedisClient
  readonly #slots: Slots
  readonly #stores: WorkerStores
  readonly #executions: Executions
  readonly #identity: WorkerIdentity
  readonly #streams: readonly ControlStream[]
  readonly #registration: Registration
  readonly #keeper: LeaseKeeper
  /** One per slot in which control streams lie: on one Redis a single one. */
  readonly #intakes: readonly Intake[]
  readonly #reclaimer: Reclaimer
  readonly #promoter: Promoter
  readonly #waits: WaitWatch
  readonly #desk = new WaitDesk<DurableTask>()
  readonly #inbox: Inbox
  readonly #watch: TaskWatch
  readonly #losses: LossReport
  readonly #history: HistoryKeeper | undefined
  #markStopped!: () => void

  constructor(options: ResolvedWorkerOptions) {
    super()
    this.#options = options
    this.workerId = options.workerId
    const { names, contracts } = readCapabilities(options.worker)
    this.capabilities = names
    this.stopped = new Promise((resolve) => {
      this.#markStopped = resolve
    })
    this.#logger = options.logger.child({ workerId: options.workerId })
    this.#connections = new RedisConnections(options.redis, this.#logger)
    this.#redis = this.#connections.client('patient')
    this.#losses = new LossReport(this.#logger)
    this.#slots = new Slots(options.maxConcurrency)
    this.#stores = openStores(this.#redis, options)
    const { keys, presence, leases } = this.#stores
    this.#identity = identify(options, names)
    this.#streams = lanesOf(names, keys)
    this.#history = this.#makeHistory()
    const { leaseMs } = options
    this.#registration = new Registration({ presence, identity: this.#identity, logger: this.#logger })
    this.#keeper = this.#makeKeeper()
    const { workerId, inboxes, agenda, deadLetters } = { ...this.#stores, workerId: options.workerId }
    const aftercare = new Aftercare({ agenda, inboxes, deadLetters, workerId })
    this.#executions = new Executions(this.#makeResources(contracts, aftercare), {
      logger: this.#logger,
      onGivenUp: (reason) => this.#losses.note(reason),
    })
    this.#intakes = this.#makeIntakes(aftercare)
    this.#reclaimer = new Reclaimer({
      ...{ leases, streams: this.#streams, slots: this.#slots, leaseMs, logger: this.#logger },
      accept: (entries) => this.#accept(entries),
    })
    this.#waits = new WaitWatch({
      ...{ desk: this.#desk, slots: this.#slots, suspendAfterMs: options.suspendAfterMs, logger: this.#logger },
    })
    this.#promoter = new Promoter({ ...this.#stores, workerId, logger: this.#logger })
    this.#inbox = this.#makeInbox()
    this.#watch = new TaskWatch({
      ...{ records: this.#stores.records, periodMs: leaseMs / LOOKS_PER_LEASE, logger: this.#logger },
      running: () => this.#executions,
    })
  }

  get running(): number {
    return this.#slots.used
  }

  get history(): HistoryState {
    return this.#history?.state ?? { status: 'OFF', putBy: 0, lost: 0 }
  }

  protected override async onStart(): Promise<void> {
    try {
      await this.#connections.check(this.#redis, this.#options.connectTimeoutMs)
      const { version, warnings } = await checkServer(this.#redis)
      for (const warning of warnings) this.#logger.warn({ target: this.#connections.target }, warning)
      await this.#registration.start()
      await this.#keeper.start()
      await this.#options.worker.onStartup?.()
      await this.#history?.start()
      await this.#inbox.start()
      // What is left of this worker's former life comes before anything new.
      await this.#reclaimer.start()
      await Promise.all(this.#intakes.map((intake) => intake.start()))
      await Promise.all([this.#promoter, this.#watch, this.#waits].map((service) => service.start()))
      const { capabilities } = this
      this.#logger.info({ capabilities, redis: this.#connections.target, redisVersion: version }, 'worker is consuming')
    } catch (error) {
      await Promise.all([this.#reclaimer, this.#promoter, ...this.#intakes].map((service) => service.stop()))
      await Promise.all([this.#watch, this.#waits, this.#inbox].map((service) => service.stop()))
      await this.#history?.stop()
      await this.#keeper.stop()
      await this.#registration.stop()
      this.#connections.close()
      this.#markStopped()
      throw error
    }
  }

  protected override async onStop(): Promise<void> {
    const limit = new AbortController()
    const orderly = this.#leave().finally(() => limit.abort())
    // Commands wait for a Redis that is away; a worker that is to stop does not. What it leaves behind is taken over.
    const overtime = sleep(this.#options.shutdownTimeoutMs + STOP_GRACE_MS, limit.signal).then(async () => {
      if (limit.signal.aborted) return orderly
      this.#logger.warn({}, 'the orderly shutdown takes too long, closing the connections')
      this.#connections.close()
      await sleep(AFTER_CLOSE_MS, limit.signal)
    })
    try {
      await Promise.race([orderly, overtime])
    } finally {
      this.#losses.close()
      this.#connections.close()
      this.#markStopped()
      this.#logger.info({}, 'worker has stopped')
    }
  }

  async #leave(): Promise<void> {
    await Promise.all([this.#reclaimer, this.#promoter, ...this.#intakes].map((service) => service.stop()))
    this.#waits.hurry()
    await this.#drain()
    // Until here what still runs can be cancelled.
    await Promise.all([this.#watch, this.#waits, this.#inbox].map((service) => service.stop()))
    await Promise.all(this.#intakes.map((intake) => intake.settled()))
    await this.#history?.stop()
    await this.#keeper.stop()
    await this.#forgetConsumer()
    await this.#registration.stop()
    await this.#options.worker.onShutdown?.()
  }

  /** Lets running tasks finish within their time; those that do not are given up, for another worker to end. */
  async #drain(): Promise<void> {
    const timer = new AbortController()
    const drained = this.#slots.drained().then(() => timer.abort())
    await sleep(this.#options.shutdownTimeoutMs, timer.signal)
    if (!timer.signal.aborted) {
      this.#logger.warn({ running: this.#executions.size }, 'shutdown time is up, running tasks are given up')
      const reason = new GatewayError('GW_SHUTDOWN', { workerId: this.workerId })
      this.#executions.abortAll(reason)
    }
    await drained
  }

  #makeResources(contracts: ReadonlyMap<string, AgentContract>, aftercare: Aftercare): ExecutionResources {
    const { workerId, worker, workspaceDir, maxPayloadBytes, taskTimeoutMs, retry, onNonDeterminism } = this.#options
    const { presence, writer, records } = this.#stores
    const retryOf = (agentType: string) => ({ ...retry, ...retry?.capabilities?.[agentType] })
    return {
      ...{ workerId, worker, workspaceDir, maxPayloadBytes, taskTimeoutMs, contracts, presence, writer },
      ...{ durable: this.#makeDurable(), onNonDeterminism, history: this.#history },
      logger: this.#logger,
      toolbox: new Toolbox(worker.getTools()),
      conclusion: new Conclusion({ records, aftercare, retryOf }),
    }
  }

  #makeHistory(): HistoryKeeper | undefined {
    const { history: store, workerId } = this.#options
    if (store === undefined) return undefined
    const options = { name: store.name ?? 'default', workerId }
    const buffer = new HistoryBuffer(this.#redis, this.#stores.keys, options)
    return new HistoryKeeper({ store, buffer, clock: new ServerClock(this.#redis), logger: this.#logger })
  }

  #makeDurable(): DurableResources {
    const { suspendAfterMs, maxPayloadBytes, streamTtlMs, streamMaxLength } = this.#options
    const { journals, agenda, inboxes, records, ender, keys } = this.#stores
    const logger = this.#logger
    return {
      ...{ journals, agenda, inboxes, suspendAfterMs, maxPayloadBytes, streamTtlMs, streamMaxLength },
      ...{ desk: this.#desk, scopes: new AsyncLocalStorage<Scope>() },
      canceller: new Canceller({ records, ender, inboxes, agenda, logger }),
      reader: new DataReader(this.#redis, keys),
    }
  }

  #makeInbox(): Inbox {
    const blocking = this.#connections.client('blocking', 'inbox')
    const { keys } = this.#stores
    return new Inbox({
      reader: new InboxReader({ redis: this.#redis, blocking, keys, workerId: this.workerId }),
      onCancel: (command) => {
        if (!this.#executions.cancel(command)) this.#watch.wake()
      },
      onAgenda: () => this.#promoter.wake(),
      onReply: (wake) => this.#desk.wake(wake),
      onForget: (sessionId) => this.#history?.forget(sessionId),
      logger: this.#logger,
    })
  }

  #makeIntakes(aftercare: Aftercare): Intake[] {
    const { workerId, consumerGroup: group, maxPayloadBytes, maxDeliveries, fetchCount } = this.#options
    const logger = this.#logger
    const redis = this.#redis
    const { records, deadLetters, leases, journals } = this.#stores
    const limits = { workerId, maxPayloadBytes, maxDeliveries }
    const reception = new Reception({ records, deadLetters, aftercare, journals, ...limits, logger })
    const run: RunTask = (assignment, seat) => this.#executions.run(assignment, seat)
    const shared = {
      reception,
      run,
      fetchCount,
      logger,
      leases,
      keeper: this.#keeper,
      slots: this.#slots,
      onGroupGone: () => this.#watch.wake(),
      beforeTaking: () => this.#reclaimer.goFirst(),
    }
    const turnstile = redis.isCluster ? new Turnstile() : undefined
    return slotGroups(redis.isCluster, this.#streams, ({ key }) => key).map((streams) => {
      const blocking = this.#connections.client('blocking')
      const reader = new ControlReader({ redis, blocking, streams, group, consumer: workerId })
      return new Intake({ ...shared, reader, turnstile })
    })
  }

  /** Hands what was taken over to the intake of its stream. */
  #accept(entries: readonly TakenEntry[]): void {
    for (const intake of this.#intakes) {
      const own = entries.filter(({ stream }) => intake.streams.includes(stream))
      if (own.length > 0) intake.accept(own)
    }
  }

  #makeKeeper(): LeaseKeeper {
    const { keyPrefix, consumerGroup: group, leaseMs, blockedAfterMs, maxConcurrency, redis } = this.#options
    const streamKeys = this.#streams.map(({ key }) => key)
    return new LeaseKeeper({
      // Beside what runs there are the tasks whose end is being recorded, and those that wait: see Slots.
      capacity: 2 * maxConcurrency + MOST_AWAY,
      ...{ streamKeys, logger: this.#logger, running: () => this.#slots.used },
      data: (table) => ({
        ...{ redis, keyPrefix, group, table, streamKeys, leaseMs, blockedAfterMs, identity: this.#identity },
        ...{ startedAt: this.#registration.startedAt },
      }),
      onReplaced: (reason) => {
        this.#logger.error({ reason }, 'another process took over the id of this worker, stopping')
        void this.stop()
      },
      onLost: () => this.#watch.wake(),
    })
  }

  /** A worker that comes back under another name is not to leave its old one in every group. */
  async #forgetConsumer(): Promise<void> {
    try {
      await Promise.all(
        this.#streams.map(({ key }) => this.#stores.leases.removeConsumers(key, CONSUMER_IDLE_MS, true)),
      )
    } catch (error) {
      this.#logger.debug({ err: error }, 'the consumer was not removed; other workers will')
    }
  }
}
