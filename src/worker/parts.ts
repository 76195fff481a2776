import type { Tools } from '../agent/tool.ts'
import type { DurableTask } from '../context/durable/durable-task.ts'
import { WaitDesk } from '../context/durable/wait-desk.ts'
import { Toolbox } from '../context/toolbox.ts'
import { Aftercare } from '../execution/aftercare.ts'
import { Reception } from '../execution/reception.ts'
import { HistoryBuffer } from '../history/buffer.ts'
import { HistoryKeeper } from '../history/keeper.ts'
import { ServerClock } from '../history/server-clock.ts'
import type { Logger } from '../logger.ts'
import { PluginRegistry } from '../plugins/registry.ts'
import type { RedisClient } from '../redis/client.ts'
import { RedisConnections } from '../redis/connections.ts'
import { portable } from '../redis/portable.ts'
import { slotGroups } from '../redis/slots.ts'
import { ControlReader, type ControlReaderOptions } from '../store/control-reader.ts'
import { type ControlStream, lanesOf, ownLanesOf, type TakenEntry } from '../store/control-streams.ts'
import { InboxReader } from '../store/inbox.ts'
import { PluginBoard } from '../store/plugin-board.ts'
import type { WorkerIdentity } from '../store/presence.ts'
import type { RunTask } from './admission.ts'
import { executionResources } from './execution-resources.ts'
import { Executions } from './executions.ts'
import { identify, readCapabilities } from './identity.ts'
import { Inbox } from './inbox.ts'
import { Intake } from './intake.ts'
import { LeaseKeeper } from './lease-keeper.ts'
import { LossReport } from './loss-report.ts'
import { type ResolvedWorkerOptions, versionsOf } from './options.ts'
import { OwnLanes } from './own-lanes.ts'
import { PluginSupply } from './plugin-supply.ts'
import { Promoter } from './promoter.ts'
import { Reclaimer } from './reclaimer.ts'
import { Registration } from './registration.ts'
import { MOST_AWAY, Slots } from './slots.ts'
import { openStores, type WorkerStores } from './stores.ts'
import { TaskWatch } from './task-watch.ts'
import { Turnstile } from './turnstile.ts'
import { WaitWatch } from './wait-watch.ts'
import { WorkspaceHome } from './workspace-home.ts'

/** Looks at the records of running tasks in a lease's time. */
const LOOKS_PER_LEASE = 2

/** What a worker is made of, wired to each other. Nothing runs yet: {@link WorkerRuntime} starts and stops it in order. */
export class WorkerParts {
  readonly capabilities: readonly string[]
  readonly logger: Logger
  readonly connections: RedisConnections
  readonly redis: RedisClient
  readonly stores: WorkerStores
  readonly streams: readonly ControlStream[]
  readonly #ownStreams: readonly ControlStream[]
  readonly slots: Slots
  readonly executions: Executions
  readonly registration: Registration
  readonly keeper: LeaseKeeper
  /** One per slot in which control streams lie: on one Redis a single one. */
  readonly intakes: readonly Intake[]
  readonly reclaimer: Reclaimer
  readonly ownLanes: OwnLanes
  readonly promoter: Promoter
  readonly waits: WaitWatch
  readonly inbox: Inbox
  readonly watch: TaskWatch
  readonly losses: LossReport
  /** Undefined for a worker that keeps none. */
  readonly history: HistoryKeeper | undefined
  readonly plugins: PluginRegistry
  readonly supply: PluginSupply
  readonly workspaces: WorkspaceHome
  readonly #options: ResolvedWorkerOptions
  readonly #desk = new WaitDesk<DurableTask>()

  /** `onReplaced` is told that another process has taken over the id of this worker. */
  constructor(options: ResolvedWorkerOptions, onReplaced: (reason: string) => void) {
    const { workerId, leaseMs, suspendAfterMs } = options
    this.#options = options
    const { names, contracts } = readCapabilities(options.worker)
    this.capabilities = names
    const logger = options.logger.child({ workerId })
    this.logger = logger
    this.connections = new RedisConnections(options.redis, logger)
    this.redis = this.connections.client('patient')
    this.losses = new LossReport(logger)
    const slots = new Slots(options.maxConcurrency)
    this.slots = slots
    const stores = openStores(this.redis, options)
    this.stores = stores
    const { presence, leases, records } = stores
    this.streams = lanesOf(names, stores.keys, versionsOf(options))
    this.#ownStreams = ownLanesOf(names, stores.keys, workerId)
    const identity = identify(options, names)
    this.registration = new Registration({ presence, identity, logger })
    this.keeper = this.#makeKeeper(identity, onReplaced)
    const aftercare = new Aftercare({ ...stores, workerId })
    this.history = this.#makeHistory()
    const tools = options.worker.getTools()
    this.plugins = this.#makePlugins(tools)
    const board = new PluginBoard(this.redis, stores.keys)
    this.supply = new PluginSupply({ registry: this.plugins, options, workerId, board, logger })
    const toolbox = new Toolbox(tools)
    this.workspaces = new WorkspaceHome({ workspaceDir: options.workspaceDir, logger })
    this.executions = new Executions(
      executionResources({
        ...{ options, contracts, stores, aftercare, desk: this.#desk, logger },
        ...{ toolbox, plugins: this.plugins, history: this.history, workspaces: this.workspaces },
        onGivenUp: (reason) => this.losses.note(reason),
      }),
      logger,
    )
    this.intakes = this.#makeIntakes(aftercare)
    const accept = (entries: readonly TakenEntry[]) => this.#accept(entries)
    this.reclaimer = new Reclaimer({ leases, streams: this.streams, slots, leaseMs, accept, logger })
    this.ownLanes = new OwnLanes({ reader: this.#readerOf(this.#ownStreams), leases, slots, leaseMs, accept, logger })
    this.waits = new WaitWatch({ desk: this.#desk, slots, suspendAfterMs, logger })
    this.promoter = new Promoter({ ...stores, workerId, logger })
    this.inbox = this.#makeInbox()
    const running = () => this.executions
    this.watch = new TaskWatch({ records, periodMs: leaseMs / LOOKS_PER_LEASE, running, logger })
  }

  #makeHistory(): HistoryKeeper | undefined {
    const { history: store, workerId } = this.#options
    if (store === undefined) return undefined
    const buffer = new HistoryBuffer(this.redis, this.stores.keys, { name: store.name ?? 'default', workerId })
    return new HistoryKeeper({ store, buffer, clock: new ServerClock(this.redis), logger: this.logger })
  }

  #makePlugins(workerTools: Tools): PluginRegistry {
    const { capabilities, logger } = this
    const worker = { workerId: this.#options.workerId, capabilities }
    return new PluginRegistry({ worker, workerTools, openTools: (tools) => new Toolbox(tools), logger })
  }

  #makeInbox(): Inbox {
    const blocking = this.connections.client('blocking', 'inbox')
    const { keys } = this.stores
    return new Inbox({
      reader: new InboxReader({ redis: this.redis, blocking, keys, workerId: this.#options.workerId }),
      onCancel: (command) => {
        if (this.executions.cancel(command)) return
        this.watch.wake()
        for (const intake of this.intakes) intake.askAgain()
      },
      onAgenda: () => this.promoter.wake(),
      onLanes: () => this.ownLanes.wake(),
      onReply: (wake) => this.#desk.wake(wake),
      onForget: (sessionId) => this.history?.forget(sessionId),
      onReload: (order) => void this.supply.reload(order),
      logger: this.logger,
    })
  }

  #makeIntakes(aftercare: Aftercare): Intake[] {
    const { workerId, maxPayloadBytes, maxDeliveries, fetchCount, leaseMs } = this.#options
    const logger = this.logger
    const redis = this.redis
    const { records, deadLetters, leases, journals, control, keys } = this.stores
    const limits = { workerId, maxPayloadBytes, maxDeliveries }
    const reception = new Reception({ records, deadLetters, aftercare, journals, control, ...limits, logger })
    const run: RunTask = (assignment, seat) => this.executions.run(assignment, seat)
    const shared = {
      reception,
      run,
      fetchCount,
      leaseMs,
      logger,
      leases,
      keeper: this.keeper,
      slots: this.slots,
      onGroupGone: () => this.watch.wake(),
      beforeTaking: () => this.#goFirst(),
      isCalled: () => this.ownLanes.isDue || this.reclaimer.isDue,
      isOwnName: () => this.registration.isOwn(),
      said: () => this.stores.writer.said(),
    }
    const version = versionsOf(this.#options)[0] ?? ''
    const begins = redis.isCluster ? undefined : { newest: keys.newest(), taskHead: keys.taskHead(), version }
    const turnstile = redis.isCluster ? new Turnstile() : undefined
    return slotGroups(redis.isCluster, this.streams, ({ key }) => key).map((streams) => {
      const reader = this.#readerOf(streams, { blocking: this.connections.client('blocking'), begins })
      return new Intake({ ...shared, reader, turnstile })
    })
  }

  /** Without a connection of its own a reader is not to wait for anything. */
  #readerOf(
    streams: readonly ControlStream[],
    how: Partial<Pick<ControlReaderOptions, 'blocking' | 'begins'>> = {},
  ): ControlReader {
    const { workerId: consumer, consumerGroup: group } = this.#options
    const { redis } = this
    return new ControlReader({ redis, blocking: redis, streams, group, consumer, ...how })
  }

  /** What the dead have left, and what is for this very worker, goes before what anybody may take. */
  #goFirst(): Promise<unknown> {
    if (!this.ownLanes.isDue) return this.reclaimer.goFirst()
    return Promise.all([this.ownLanes.goFirst(), this.reclaimer.goFirst()])
  }

  /** Hands what was taken elsewhere to the intake of its stream; an own lane lies in the slot of the normal one. */
  #accept(entries: readonly TakenEntry[]): void {
    for (const intake of this.intakes) {
      const isOfIntake = ({ stream }: TakenEntry) =>
        intake.streams.includes(stream) ||
        (this.#ownStreams.includes(stream) && intake.streams.some((shared) => isHomeOf(shared, stream)))
      const own = entries.filter(isOfIntake)
      if (own.length > 0) void intake.accept(own)
    }
  }

  #makeKeeper(identity: WorkerIdentity, onReplaced: (reason: string) => void): LeaseKeeper {
    const { keyPrefix, consumerGroup: group, leaseMs, blockedAfterMs, redis } = this.#options
    const streamKeys = [...this.streams, ...this.#ownStreams].map(({ key }) => key)
    return new LeaseKeeper({
      // Beside what runs there are the tasks whose end is being recorded, and those that wait: see Slots.
      capacity: this.slots.mostOpen + MOST_AWAY,
      ...{ redis: this.redis, streamKeys, logger: this.logger, running: () => this.slots.used },
      data: (table) => ({
        ...{ redis: portable(redis), keyPrefix, group, table, streamKeys, leaseMs, blockedAfterMs, identity },
        ...{ startedAt: this.registration.startedAt },
      }),
      onReplaced,
      onLost: () => this.watch.wake(),
    })
  }
}

/** An own lane lies in the slot of its capability's normal one, which is of no version. */
function isHomeOf(shared: ControlStream, { capability }: ControlStream): boolean {
  return shared.capability === capability && shared.priority === 'normal' && shared.version === undefined
}
