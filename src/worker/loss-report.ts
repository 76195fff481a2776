import type { GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'

/** What is lost together is noticed within this time. */
const TOGETHER_MS = 1_000

/** Says once, in plain words, how many running tasks went with the server's data. */
export class LossReport {
  readonly #logger: Logger
  #messageIds: string[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** Notes why an attempt was given up; only that nobody owns its task any more is a loss. */
  note(reason: GatewayError | undefined): void {
    if (reason?.code !== 'GW_LEASE_LOST' || reason.details['holder'] !== 'nobody') return
    this.#messageIds.push(String(reason.details['messageId']))
    this.#timer ??= setTimeout(() => this.#tell(), TOGETHER_MS)
    this.#timer.unref()
  }

  /** Says what was not said yet. */
  close(): void {
    clearTimeout(this.#timer)
    if (this.#messageIds.length > 0) this.#tell()
  }

  #tell(): void {
    const messageIds = this.#messageIds
    this.#messageIds = []
    this.#timer = undefined
    const tasks = messageIds.length === 1 ? '1 running task is' : `${messageIds.length} running tasks are`
    this.#logger.error({ messageIds }, `Redis lost its data: ${tasks} gone`)
  }
}
