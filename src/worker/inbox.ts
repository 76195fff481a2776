import { setImmediate as nextTurn } from 'node:timers/promises'
import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { decodeCommand } from '../protocol/codec.ts'
import { CancelTaskCommand } from '../protocol/command.ts'
import { Service } from '../service.ts'
import type { InboxMessage, InboxReader, ReplyWake } from '../store/inbox.ts'
import { sleep } from '../util/sleep.ts'

const RETRY_FIRST_MS = 50
const RETRY_MOST_MS = 1_000

/** Hears what is sent to this worker itself. What it misses is made up for by others: see {@link TaskWatch}. */
export class Inbox extends Service {
  readonly #reader: InboxReader
  readonly #onCancel: (command: CancelTaskCommand) => void
  readonly #onAgenda: () => void
  readonly #onReply: (wake: ReplyWake) => void
  readonly #logger: Logger
  readonly #stopping = new AbortController()
  #loop: Promise<void> = Promise.resolve()

  constructor(options: {
    reader: InboxReader
    onCancel: (command: CancelTaskCommand) => void
    onAgenda: () => void
    onReply: (wake: ReplyWake) => void
    logger: Logger
  }) {
    super()
    this.#reader = options.reader
    this.#onCancel = options.onCancel
    this.#onAgenda = options.onAgenda
    this.#onReply = options.onReply
    this.#logger = options.logger
  }

  protected override async onStart(): Promise<void> {
    await this.#reader.open()
    this.#loop = this.#listen()
  }

  protected override async onStop(): Promise<void> {
    this.#stopping.abort()
    await this.#loop
    try {
      await this.#reader.remove()
    } catch (error) {
      this.#logger.debug({ err: error }, 'the inbox was not removed; it expires')
    }
  }

  async #listen(): Promise<void> {
    const { signal } = this.#stopping
    const stopped = new Promise<'stopped'>((resolve) => {
      signal.addEventListener('abort', () => resolve('stopped'), { once: true })
    })
    let failures = 0
    while (!signal.aborted) {
      try {
        // The read that is left behind at a stop ends with its connection.
        const messages = await Promise.race([this.#reader.read(), stopped])
        if (messages === 'stopped') return
        for (const message of messages) this.#hear(message)
        // Who was woken goes first, then the next read.
        if (messages.length > 0) await nextTurn()
        failures = 0
      } catch (error) {
        failures += 1
        if (failures === 1) this.#logger.warn({ reason: errorMessage(error) }, 'reading the inbox failed, trying again')
        await sleep(Math.min(RETRY_FIRST_MS * 2 ** (failures - 1), RETRY_MOST_MS), signal)
      }
    }
  }

  #hear(message: InboxMessage): void {
    if (message.kind === 'reply') {
      this.#onReply(message)
      return
    }
    if (message.kind === 'wake') {
      this.#onAgenda()
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
