import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Logger } from '../logger.ts'
import { decodeCommand } from '../protocol/codec.ts'
import { CancelTaskCommand } from '../protocol/command.ts'
import { Service } from '../service.ts'
import type { InboxMessage, InboxReader, ReloadOrder, ReplyWake } from '../store/inbox.ts'
import { untilAborted } from '../util/until-aborted.ts'
import { Patrol } from './patrol.ts'

const RETRY_FIRST_MS = 50
const RETRY_MOST_MS = 1_000

/** Hears what is sent to this worker itself. What it misses is made up for by others: see {@link TaskWatch}. */
export class Inbox extends Service {
  readonly #reader: InboxReader
  readonly #onCancel: (command: CancelTaskCommand) => void
  readonly #onAgenda: () => void
  readonly #onLanes: () => void
  readonly #onReply: (wake: ReplyWake) => void
  readonly #onForget: (sessionId: string) => void
  readonly #onReload: (order: ReloadOrder) => void
  readonly #logger: Logger
  readonly #patrol: Patrol

  constructor(options: {
    reader: InboxReader
    onCancel: (command: CancelTaskCommand) => void
    onAgenda: () => void
    onLanes: () => void
    onReply: (wake: ReplyWake) => void
    onForget: (sessionId: string) => void
    onReload: (order: ReloadOrder) => void
    logger: Logger
  }) {
    super()
    this.#reader = options.reader
    this.#onCancel = options.onCancel
    this.#onAgenda = options.onAgenda
    this.#onLanes = options.onLanes
    this.#onReply = options.onReply
    this.#onForget = options.onForget
    this.#onReload = options.onReload
    this.#logger = options.logger
    this.#patrol = new Patrol({
      round: (signal) => this.#listen(signal),
      retryMs: (failures) => Math.min(RETRY_FIRST_MS * 2 ** (failures - 1), RETRY_MOST_MS),
      complaint: 'reading the inbox failed',
      logger: options.logger,
    })
  }

  /** Before anybody may know of this worker what he could send it a word for: all that comes from now on is heard. */
  open(): Promise<void> {
    return this.#reader.open()
  }

  protected override async onStart(): Promise<void> {
    await this.#patrol.start()
  }

  protected override async onStop(): Promise<void> {
    await this.#patrol.stop()
    try {
      await this.#reader.remove()
    } catch (error) {
      this.#logger.debug({ err: error }, 'the inbox was not removed; it expires')
    }
  }

  async #listen(signal: AbortSignal): Promise<number> {
    // The read that is left behind at a stop ends with its connection.
    const messages = await untilAborted(this.#reader.read(), signal)
    for (const message of messages ?? []) this.#hear(message)
    // Who was woken goes first, then the next read.
    if (messages !== undefined && messages.length > 0) await nextTurn()
    return 0
  }

  #hear(message: InboxMessage): void {
    if (message.kind === 'reply') {
      this.#onReply(message)
      return
    }
    if (message.kind === 'forget') {
      this.#onForget(message.sessionId)
      return
    }
    if (message.kind === 'reload') {
      this.#onReload(message)
      return
    }
    if (message.kind !== 'command') {
      if (message.kind === 'lanes') this.#onLanes()
      else this.#onAgenda()
      return
    }
    const decoded = decodeCommand(message.data, Number.MAX_SAFE_INTEGER)
    if (decoded.ok && decoded.command instanceof CancelTaskCommand) {
      this.#onCancel(decoded.command)
      return
    }
    const reason = decoded.ok ? `${decoded.command.actionType} is not for a worker` : decoded.detail
    this.#logger.warn({ reason }, 'a message in the inbox was not understood')
  }
}
