import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { sleep } from '../util/sleep.ts'

/**
 * What a server says that lives and cannot carry out a command now: no memory, no disk, no replicas, busy, not yet
 * there. A script's error carries it at the front, or behind `: -` before Redis 7.
 */
const FOR_NOW = /(?:^|: -)(?:OOM|MISCONF|NOREPLICAS|BUSY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|READONLY) /

/**
 * What a script is told while a slot with its keys is on its way to another node of a Cluster, about a key that only the
 * script itself knew of. What it has written by then may be written again.
 */
const ON_ITS_WAY = /attempted to access a non local key/

/** What ioredis says when a node of a Cluster is away for longer than it tries; a replica will have its slots. */
const NODE_AWAY = /^Too many Cluster redirections\./

const FIRST_MS = 50
const MOST_MS = 500
/** The refusals are over when there was none for this long. */
const OVER_AFTER_MS = 1_000

/** True for a refusal that will not last. Nothing was written then: a script is refused at its first write. */
export function isRefusedForNow(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError' && FOR_NOW.test(error.message)
}

/** What a server says to somebody whom it does not know, or who may not do that. */
const NO_ENTRY = /(?:^|: -)(?:NOAUTH|WRONGPASS|NOPERM) /

/** True for a refusal that says nothing of what was asked: no caller but a person can do anything about it. */
export function isNoEntry(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError' && NO_ENTRY.test(error.message)
}

/** True for a right that is missing for this very command, which no new connection brings. */
export function isForbidden(error: unknown): boolean {
  return isNoEntry(error) && /\bNOPERM /.test(errorMessage(error))
}

/** True for what a script is told of a key that is on its way to another node of a Cluster. */
export function isOnItsWay(error: unknown): boolean {
  return error instanceof Error && ON_ITS_WAY.test(error.message)
}

function willNotLast(error: unknown): boolean {
  return isRefusedForNow(error) || isOnItsWay(error) || (error instanceof Error && NODE_AWAY.test(error.message))
}

/**
 * Carries out what the server refuses for now, or a Cluster has no node for yet, again and again, with pauses, until it is
 * taken or that has lasted too long. Says so once when it begins and once when it is over, however many commands are
 * concerned.
 */
export class Patience {
  readonly #logger: Logger
  readonly #about: object
  readonly #isWaitedFor: (error: unknown) => boolean
  readonly #mostMs: number
  #waiting = 0
  #told = false
  #over: NodeJS.Timeout | undefined
  #isClosed = false

  /**
   * @param about - Goes into the log lines.
   * @param limits - Which refusals to wait for the end of, and how long, in ms. Default all, whatever it takes.
   */
  constructor(
    logger: Logger,
    about: object,
    limits: { readonly isWaitedFor?: (error: unknown) => boolean; readonly mostMs?: number } = {},
  ) {
    this.#logger = logger
    this.#about = about
    this.#isWaitedFor = limits.isWaitedFor ?? willNotLast
    this.#mostMs = limits.mostMs ?? Number.POSITIVE_INFINITY
  }

  async run<T>(attempt: () => Promise<T>): Promise<T> {
    const since = performance.now()
    for (let refusals = 0; ; refusals += 1) {
      try {
        return await attempt()
      } catch (error) {
        if (!this.#isWaitedFor(error) || performance.now() - since >= this.#mostMs) throw error
        await this.#wait(refusals, errorMessage(error))
      }
    }
  }

  /** Ends the watch for the end of the refusals; nothing is said any more. */
  close(): void {
    clearTimeout(this.#over)
    this.#isClosed = true
  }

  async #wait(refusals: number, reason: string): Promise<void> {
    clearTimeout(this.#over)
    if (!this.#told && !this.#isClosed)
      this.#logger.warn({ ...this.#about, reason }, 'Redis refuses commands, trying again')
    this.#told = true
    this.#waiting += 1
    await sleep(Math.min(FIRST_MS * 2 ** Math.min(refusals, 8), MOST_MS) * (0.8 + Math.random() * 0.2))
    this.#waiting -= 1
    if (this.#waiting > 0 || this.#isClosed) return
    this.#over = setTimeout(() => {
      this.#told = false
      this.#logger.info(this.#about, 'Redis takes commands again')
    }, OVER_AFTER_MS)
    this.#over.unref()
  }
}
