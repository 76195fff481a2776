import { errorMessage, GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { Service } from '../service.ts'
import type { Presence, WorkerHolder, WorkerIdentity } from '../store/presence.ts'
import { sleep } from '../util/sleep.ts'

const CLAIM_POLL_MS = 100

/**
 * A worker's presence: claims its id, gives signs of life every third of the lease, and leaves.
 *
 * An id in use is not taken over but for a holder that is certainly gone: its process on this very host has ended, or
 * it gave no sign of life for a whole lease.
 */
export class Heartbeat extends Service {
  readonly #presence: Presence
  readonly #identity: WorkerIdentity
  readonly #leaseMs: number
  readonly #running: () => number
  readonly #onReplaced: (error: GatewayError) => void
  readonly #logger: Logger
  readonly #stopping = new AbortController()
  #startedAt = 0
  #loop: Promise<void> = Promise.resolve()

  constructor(options: {
    presence: Presence
    identity: WorkerIdentity
    leaseMs: number
    /** Tasks in flight now. */
    running: () => number
    /** Told when another process took the id, because this one was silent for too long. */
    onReplaced: (error: GatewayError) => void
    logger: Logger
  }) {
    super()
    this.#presence = options.presence
    this.#identity = options.identity
    this.#leaseMs = options.leaseMs
    this.#running = options.running
    this.#onReplaced = options.onReplaced
    this.#logger = options.logger
  }

  /** @throws GatewayError `GW_WORKER_ID_TAKEN` when a live worker has the id; it is not disturbed. */
  protected override async onStart(): Promise<void> {
    this.#startedAt = await this.#claim()
    this.#loop = this.#beat()
  }

  protected override async onStop(): Promise<void> {
    this.#stopping.abort()
    await this.#loop
    try {
      await this.#presence.leave(this.#identity)
    } catch (error) {
      this.#logger.warn({ err: error }, 'the worker could not be taken off the list; its entry expires')
    }
  }

  async #claim(): Promise<number> {
    let knownDead = ''
    let seen: WorkerHolder | undefined
    for (;;) {
      const answer = await this.#presence.claim(this.#identity, knownDead)
      if (answer.status === 'claimed') return answer.startedAt
      const { holder } = answer
      const alive = seen?.incarnation === holder.incarnation && holder.lastSeenAt > seen.lastSeenAt
      if (alive) {
        const { host, pid } = holder
        throw new GatewayError('GW_WORKER_ID_TAKEN', { workerId: this.#identity.workerId, host, pid })
      }
      seen = holder
      if (holder.silentMs > this.#leaseMs || this.#isGone(holder)) knownDead = holder.incarnation
      else await sleep(CLAIM_POLL_MS)
    }
  }

  #isGone({ host, pid }: WorkerHolder): boolean {
    if (host !== this.#identity.host || pid === this.#identity.pid) return false
    try {
      process.kill(pid, 0)
      return false
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ESRCH'
    }
  }

  async #beat(): Promise<void> {
    const { signal } = this.#stopping
    let failing = false
    for (;;) {
      await sleep(this.#leaseMs / 3, signal)
      if (signal.aborted) return
      try {
        await this.#presence.beat(this.#identity, this.#startedAt, this.#running())
        failing = false
      } catch (error) {
        if (error instanceof GatewayError && error.code === 'GW_WORKER_ID_TAKEN') return this.#onReplaced(error)
        if (!failing) this.#logger.warn({ reason: errorMessage(error) }, 'the sign of life failed, trying again')
        failing = true
      }
    }
  }
}
