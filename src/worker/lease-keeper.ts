import { setImmediate as nextTurn } from 'node:timers/promises'
import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { RedisClient } from '../redis/client.ts'
import { Service } from '../service.ts'
import type { EntryRef } from '../store/control-streams.ts'
import { deferred } from '../util/deferred.ts'
import { sleep } from '../util/sleep.ts'
import { LeaseHost, type LoopPlace } from './lease-host.ts'
import { type LeaseLoopData, runLeaseLoop } from './lease-loop.ts'
import { LeaseTable } from './lease-table.ts'
import type { LeaseMessage } from './lease-thread.ts'

const PULSE_MS = 250
const STOP_MS = 1_000
/** Stands for the row of an entry that is here and has none. */
const NO_ROW = -1

/** Of this process. */
const host = new LeaseHost()

/**
 * Keeps the leases of what this worker runs, from another thread. Until that is loaded, which takes longer than all else
 * of a start, the same loop runs here. Where no thread can be had (a bundle without its file, a Redis client of the
 * caller's whose options cannot be copied) it goes on here; it then stands still while a handler blocks the event loop,
 * and says so.
 */
export class LeaseKeeper extends Service {
  readonly #data: () => LeaseLoopData
  readonly #redis: RedisClient
  readonly #table: LeaseTable
  readonly #streamIndex: ReadonlyMap<string, number>
  readonly #running: () => number
  readonly #onReplaced: (reason: string) => void
  readonly #onLost: () => void
  readonly #logger: Logger
  /** Per stream's key the rows of the table by the ids of their entries. */
  readonly #rows: ReadonlyMap<string, Map<string, number>>
  readonly #stopping = new AbortController()
  readonly #ready = deferred()
  readonly #ended = deferred()
  #place: LoopPlace | undefined
  #isLoaded = false
  /** Why there is no thread. */
  #fault = ''
  /** The loop that runs here. */
  #local: { readonly ended: Promise<void>; readonly stop: AbortController } | undefined
  #pulse: NodeJS.Timeout | undefined
  #isKeeping = false
  #wasReplaced = false

  constructor(options: {
    /** Most entries at a time. */
    capacity: number
    streamKeys: readonly string[]
    /** Used as long as the loop runs here. */
    redis: RedisClient
    /** Asked for at the start. */
    data: (table: SharedArrayBuffer) => LeaseLoopData
    /** Tasks in flight now. */
    running: () => number
    /** Told when another process has taken this worker's id. */
    onReplaced: (reason: string) => void
    /** Told when leases are gone of what is still running here. */
    onLost: () => void
    logger: Logger
  }) {
    super()
    this.#redis = options.redis
    this.#table = new LeaseTable(options.capacity)
    this.#streamIndex = new Map(options.streamKeys.map((key, index) => [key, index]))
    this.#rows = new Map(options.streamKeys.map((key) => [key, new Map()]))
    this.#data = () => options.data(this.#table.shared)
    this.#running = options.running
    this.#onReplaced = options.onReplaced
    this.#onLost = options.onLost
    this.#logger = options.logger
  }

  /** True if this entry is here: its lease is kept, or it was {@link expect | expected}. */
  has({ stream, id }: EntryRef): boolean {
    return this.#rows.get(stream.key)?.has(id) === true
  }

  /** An entry is here that does not run yet: its lease is not kept. */
  expect({ stream, id }: EntryRef): void {
    this.#rows.get(stream.key)?.set(id, NO_ROW)
  }

  /** Keeps the lease of an entry from now on. */
  hold({ stream, id }: EntryRef): void {
    this.#rows.get(stream.key)?.set(id, this.#table.add(this.#streamIndex.get(stream.key) as number, id))
  }

  drop({ stream, id }: EntryRef): void {
    const rows = this.#rows.get(stream.key)
    const row = rows?.get(id)
    if (row === undefined) return
    rows?.delete(id)
    if (row !== NO_ROW) this.#table.remove(row)
  }

  /** Lets the thread load. */
  protected override async onStart(): Promise<void> {
    try {
      this.#place = host.join({
        onMessage: (message) => this.#onMessage(message),
        onError: (error) => this.#onError(error),
      })
    } catch (error) {
      this.#fault = errorMessage(error)
    }
  }

  /**
   * Gives signs of life and keeps leases from now on; to be called when the worker's id is its own. Resolves when a loop
   * runs, so that no task is taken whose lease nobody would renew.
   */
  async keep(): Promise<void> {
    this.#table.beat(0)
    this.#pulse = setInterval(() => this.#table.beat(this.#running()), PULSE_MS)
    this.#isKeeping = true
    try {
      if (this.#place === undefined) this.#stayHere(this.#fault)
      else this.#place.run(this.#data())
    } catch (error) {
      this.#stayHere(errorMessage(error))
    }
    if (this.#isLoaded) await this.#ready.promise
    else this.#runHere()
  }

  protected override async onStop(): Promise<void> {
    clearInterval(this.#pulse)
    this.#stopping.abort()
    const loops = [this.#local?.ended]
    if (this.#place !== undefined && this.#isKeeping) {
      this.#place.stop()
      // What a thread has said by now is heard first. One that is still loading will find both orders, and begin nothing.
      await nextTurn()
      if (this.#isLoaded) loops.push(this.#ended.promise)
    }
    // A server that is away holds them up.
    const waiting = new AbortController()
    await Promise.race([Promise.all(loops), sleep(STOP_MS, waiting.signal)])
    waiting.abort()
    this.#place?.leave()
  }

  #onError(error: Error): void {
    this.#place = undefined
    this.#fault = errorMessage(error)
    this.#ended.resolve()
    if (!this.#isKeeping) return
    if (this.#stopping.signal.aborted) this.#ready.resolve()
    else this.#stayHere(this.#fault)
  }

  #onMessage(message: LeaseMessage): void {
    if (message.kind === 'here') this.#isLoaded = true
    else if (message.kind === 'ready') this.#takenOver()
    else if (message.kind === 'log') this.#logger[message.level](message.fields, message.message)
    else if (message.kind === 'lost') this.#onLost()
    else if (message.kind === 'ended') this.#ended.resolve()
    else if (message.code !== 'GW_WORKER_ID_TAKEN') this.#stayHere(message.message)
    else {
      this.#ended.resolve()
      this.#replaced(message.message)
    }
  }

  #takenOver(): void {
    this.#ready.resolve()
    this.#local?.stop.abort()
    this.#local = undefined
  }

  /** Both loops may find it, while one takes over from the other. */
  #replaced(reason: string): void {
    if (this.#wasReplaced) return
    this.#wasReplaced = true
    this.#onReplaced(reason)
  }

  #stayHere(reason: string): void {
    this.#ended.resolve()
    this.#ready.resolve()
    this.#logger.warn({ reason }, 'leases are renewed from the main thread: a handler that blocks it can lose its task')
    this.#runHere()
  }

  #runHere(): void {
    if (this.#local !== undefined) return
    const stop = new AbortController()
    const signal = AbortSignal.any([this.#stopping.signal, stop.signal])
    const about = { client: this.#redis, logger: this.#logger, signal, onLost: this.#onLost }
    const ended = runLeaseLoop(this.#data(), about).catch((error: unknown) => this.#replaced(errorMessage(error)))
    this.#local = { ended, stop }
  }
}
