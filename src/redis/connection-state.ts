import type { Logger } from '../logger.ts'

/** A server that refused counts as back when it has done something again and refused nothing for this long since. */
const ACCEPTED_AFTER_MS = 1_000

/**
 * Whether a connection is up or down, told once per change, however often ioredis tries in between. A server that lets
 * us connect and then refuses what we ask is down, too, and so is one that was given up because it did not answer, until
 * it does.
 */
export class ConnectionState {
  readonly #logger: Logger
  readonly #about: object
  #down = false
  /** True from the moment it was lost until ioredis has made it anew. */
  #broken = false
  #silent = false
  #downSince = 0
  #losses = 0
  #closed = false
  #refusals = 0
  #refusing = false
  #accepted: NodeJS.Timeout | undefined

  /** @param about - Goes into the log lines. */
  constructor(logger: Logger, about: object) {
    this.#logger = logger
    this.#about = about
  }

  /** How many times in a row the server let us connect and then refused. */
  get refusals(): number {
    return this.#refusals
  }

  /** How often the connection was lost so far. */
  get losses(): number {
    return this.#losses
  }

  /** How long the connection has been down, in ms; 0 while it is up, or the server has done something again. */
  get awayMs(): number {
    return this.#down && this.#accepted === undefined ? performance.now() - this.#downSince : 0
  }

  lost(reason: string): void {
    if (this.#closed) return
    clearTimeout(this.#accepted)
    this.#accepted = undefined
    if (!this.#broken) this.#losses += 1
    this.#broken = true
    if (this.#down) return
    this.#down = true
    this.#downSince = performance.now()
    this.#logger.warn({ ...this.#about, reason }, 'Redis connection lost')
  }

  refused(reason: string): void {
    // All that was under way is refused together.
    if (!this.#refusing) this.#refusals += 1
    this.#refusing = true
    this.lost(reason)
  }

  /** It is given up, because the server does not answer. */
  silent(): void {
    this.#silent = true
  }

  /** The server, given up before, has answered, or there was nothing to answer for a while. */
  heard(): void {
    this.#silent = false
    if (!this.#broken) this.#backUnlessRefused()
  }

  ready(): void {
    this.#refusing = false
    this.#broken = false
    if (!this.#silent) this.#backUnlessRefused()
  }

  /** The server has carried out a command. */
  answered(): void {
    if (this.#refusals === 0 || this.#accepted !== undefined || this.#closed) return
    this.#accepted = setTimeout(() => this.#back(), ACCEPTED_AFTER_MS)
    this.#accepted.unref()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#accepted)
  }

  #backUnlessRefused(): void {
    if (this.#down && !this.#closed && this.#refusals === 0) this.#back()
  }

  #back(): void {
    this.#accepted = undefined
    this.#refusals = 0
    this.#down = false
    this.#logger.info(this.#about, 'Redis connection is back')
  }
}
