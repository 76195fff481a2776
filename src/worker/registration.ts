import { GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { Service } from '../service.ts'
import type { Presence, WorkerHolder, WorkerIdentity } from '../store/presence.ts'
import { sleep } from '../util/sleep.ts'

const CLAIM_POLL_MS = 100

/**
 * A worker's name among the others: claims its id at the start and leaves it at the end. An id in use is taken over
 * only from a holder that is certainly gone: its process, of this very host and container, has ended, or it gave no sign of life for a
 * whole lease.
 */
export class Registration extends Service {
  readonly #presence: Presence
  readonly #identity: WorkerIdentity
  readonly #logger: Logger
  #startedAt = 0

  constructor(options: { presence: Presence; identity: WorkerIdentity; logger: Logger }) {
    super()
    this.#presence = options.presence
    this.#identity = options.identity
    this.#logger = options.logger
  }

  /** When the id was claimed, as Unix ms by Redis' clock. */
  get startedAt(): number {
    return this.#startedAt
  }

  /** False if another process has taken the id over: what this worker's name holds is no longer this process'. */
  isOwn(): Promise<boolean> {
    return this.#presence.isHolder(this.#identity)
  }

  /** @throws GatewayError `GW_WORKER_ID_TAKEN` when a live worker has the id; it is not disturbed. */
  protected override async onStart(): Promise<void> {
    let knownDead = ''
    let seen: WorkerHolder | undefined
    for (;;) {
      const answer = await this.#presence.claim(this.#identity, knownDead)
      if (answer.status === 'claimed') {
        this.#startedAt = answer.startedAt
        return
      }
      const { holder } = answer
      if (seen?.incarnation === holder.incarnation && holder.lastSeenAt > seen.lastSeenAt) {
        const { host, pid } = holder
        throw new GatewayError('GW_WORKER_ID_TAKEN', { workerId: this.#identity.workerId, host, pid })
      }
      seen = holder
      if (holder.silentMs > holder.leaseMs || this.#isGone(holder)) knownDead = holder.incarnation
      else await sleep(CLAIM_POLL_MS)
    }
  }

  protected override async onStop(): Promise<void> {
    try {
      await this.#presence.leave(this.#identity)
    } catch (error) {
      this.#logger.warn({ err: error }, 'the worker could not be taken off the list; its entry expires')
    }
  }

  #isGone({ host, pid, pidSpace }: WorkerHolder): boolean {
    const own = this.#identity
    if (host !== own.host || pidSpace !== own.pidSpace) return false
    try {
      process.kill(pid, 0)
      return false
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ESRCH'
    }
  }
}
