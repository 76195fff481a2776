import { type RedrivenLetter, Redriver } from '../dispatch/redrive.ts'
import { GatewayError } from '../errors.ts'
import { decodeCommand } from '../protocol/codec.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import { ControlWriter } from '../store/control-writer.ts'
import type { DeadLetter, HeldLetter } from '../store/dead-letter.ts'
import type { DeadLetterFilter } from '../store/dead-letter-filter.ts'
import { DeadLetters } from '../store/dead-letters.ts'
import { TaskRevivals } from '../store/task-revivals.ts'
import { parseOptions } from '../util/parse-options.ts'
import { sleep } from '../util/sleep.ts'
import {
  DROP_OPTIONS,
  type DropOptions,
  type DropResult,
  LIST_OPTIONS,
  type ListDeadLettersOptions,
  REDRIVE_OPTIONS,
  type RedriveOptions,
  type RedriveResult,
  SHOW_OPTIONS,
} from './dead-letter-options.ts'

const BATCH = 500
/** With a rate, so many batches a second at most: a rate is no burst once a second. */
const BATCHES_PER_SECOND = 10

/** The operator's side of the dead letters: look, put back, throw away. Any number of operators may do so at once. */
export class DeadLetterOffice {
  readonly #letters: DeadLetters
  readonly #redriver: Redriver
  readonly #maxPayloadBytes: number

  constructor(redis: RedisClient, keys: Keys, maxPayloadBytes: number) {
    this.#letters = new DeadLetters(redis, keys)
    const control = new ControlWriter(redis, keys)
    this.#redriver = new Redriver({ letters: this.#letters, revivals: new TaskRevivals(redis, keys), control })
    this.#maxPayloadBytes = maxPayloadBytes
  }

  async list(options: ListDeadLettersOptions): Promise<DeadLetter[]> {
    const { limit, ...filter } = parseOptions(LIST_OPTIONS, options)
    return this.#letters.list(filter, limit)
  }

  /** The newest letter that is meant, or null. */
  async show(options: DeadLetterFilter): Promise<DeadLetter | null> {
    const [letter] = await this.#letters.list(parseOptions(SHOW_OPTIONS, options), 1)
    return letter ?? null
  }

  async redrive(options: RedriveOptions): Promise<RedriveResult> {
    const { dryRun, limit, ratePerSecond, data, onProgress: _, ...given } = parseOptions(REDRIVE_OPTIONS, options)
    const filter = data === undefined ? given : await this.#checkData(data, given)
    const size = ratePerSecond === undefined ? BATCH : Math.ceil(Math.min(BATCH, ratePerSecond / BATCHES_PER_SECOND))
    const pace = new Pace(ratePerSecond)
    const skipped: RedrivenLetter[] = []
    let [matched, redriven] = [0, 0]
    await overlapped({
      parts: this.#parts(filter, size, limit),
      run: (part) => this.#redriver.redrive(part, { looksOnly: dryRun, data }),
      settle: async (letters) => {
        const others = letters.filter(({ outcome }) => outcome !== 'redriven')
        skipped.push(...others)
        matched += letters.length
        redriven += letters.length - others.length
        await options.onProgress?.({ matched, redriven, skipped: skipped.length, letters })
        if (!dryRun) await pace.after(redriven)
      },
    })
    return { matched, redriven, skipped }
  }

  async drop(options: DropOptions): Promise<DropResult> {
    const { dryRun, limit, onProgress: _, ...filter } = parseOptions(DROP_OPTIONS, options)
    let [matched, dropped] = [0, 0]
    await overlapped({
      parts: this.#parts(filter, BATCH, limit),
      run: async (part) => {
        const { capability } = part[0] as HeldLetter
        return { part, removed: dryRun ? part.map(() => true) : await this.#letters.discard(capability, part) }
      },
      settle: async ({ part, removed }) => {
        matched += part.length
        dropped += removed.filter(Boolean).length
        const letters = part.map(({ id, capability, reason, sessionId, messageId }) => {
          return { id, capability, reason, sessionId, messageId }
        })
        await options.onProgress?.({ matched, dropped, letters })
      },
    })
    return { matched, dropped }
  }

  /** The letters that are meant, oldest first, in parts of one capability each. */
  async *#parts(
    filter: DeadLetterFilter,
    size: number,
    limit = Number.POSITIVE_INFINITY,
  ): AsyncGenerator<HeldLetter[]> {
    let left = limit
    for await (const page of this.#letters.walk(filter)) {
      for (let at = 0; at < page.length && left > 0; at += size) {
        const part = page.slice(at, at + Math.min(size, left))
        left -= part.length
        yield part
      }
      if (left <= 0) return
    }
  }

  /**
   * An envelope of an operator's own must be one that a worker can read, and be for the same task. Answers what finds that
   * one letter and no other that comes meanwhile.
   */
  async #checkData(data: string, filter: DeadLetterFilter): Promise<DeadLetterFilter> {
    const fault = (reason: string) => new GatewayError('GW_INVALID_ARGUMENT', { field: 'data', reason })
    const decoded = decodeCommand(data, this.#maxPayloadBytes)
    if (!decoded.ok) throw fault(decoded.detail)
    const [letter, second] = await this.#letters.list(filter, 2)
    if (letter === undefined || second !== undefined) throw fault('must be for one letter, so exactly one must match')
    const { sessionId, messageId } = decoded.command.header
    const isOfAnother = letter.sessionId !== sessionId || letter.messageId !== messageId
    if (letter.messageId !== '' && isOfAnother) {
      throw fault(`must keep session '${letter.sessionId}' and message '${letter.messageId}' of the letter`)
    }
    return { capability: letter.capability, id: letter.id }
  }
}

/** Holds a rate: waits after each batch until what was done so far was allowed. */
class Pace {
  readonly #ratePerSecond: number | undefined
  readonly #startedAt = performance.now()

  constructor(ratePerSecond: number | undefined) {
    this.#ratePerSecond = ratePerSecond
  }

  after(done: number): Promise<void> | undefined {
    if (this.#ratePerSecond === undefined) return undefined
    return sleep(this.#startedAt + (done / this.#ratePerSecond) * 1_000 - performance.now())
  }
}

/**
 * Works on parts, two at a time, and settles them in order. While a settlement waits, nothing new is begun, so one that
 * holds a rate has at most one part under way besides.
 */
async function overlapped<Part, Done>(steps: {
  readonly parts: AsyncIterable<Part>
  readonly run: (part: Part) => Promise<Done>
  readonly settle: (done: Done) => Promise<void>
}): Promise<void> {
  let before: Promise<Done> | undefined
  for await (const part of steps.parts) {
    const current = steps.run(part)
    current.catch(() => undefined) // who waits for it below hears of it, unless an earlier one failed
    if (before !== undefined) await steps.settle(await before)
    before = current
  }
  if (before !== undefined) await steps.settle(await before)
}
