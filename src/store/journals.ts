import { GatewayError } from '../errors.ts'
import type { TaskRef } from '../protocol/ids.ts'
import { runApart } from '../redis/apart.ts'
import type { RedisClient } from '../redis/client.ts'
import { isShared, type Keys, type LaneName } from '../redis/keys.ts'
import { Batcher, type BatcherOptions } from '../util/batcher.ts'
import { Batchers } from '../util/batchers.ts'
import { Answers, type RawTell, toTells } from './answers.ts'
import { parseCancel } from './cancel-request.ts'
import { ControlWriter } from './control-writer.ts'
import { InboxWriter, inboxForm } from './inbox.ts'
import type {
  Answering,
  CalledTask,
  Closing,
  GivenAnswer,
  NoteAnswer,
  Opening,
  ParkAnswer,
  Parking,
  Question,
  Refusal,
} from './journal-notes.ts'
import { type RawJournal, toRawJournal } from './raw-journal.ts'
import { isElsewhere } from './recorded-result.ts'

/*
 * A task's journal is a hash. Its field `<operation>` is `<opened at, Unix ms> <entry as JSON>`, its field `=<operation>`
 * is `<order of completion> <attempt in which it came> <result as JSON>`, each written once; `n` counts the results. A result
 * of more than 32 KiB lies in a hash beside it, by its operation; the journal then keeps `@` and a short form of it.
 */

type Batches<Item, Result> = Pick<Batcher<Item, Result>, 'add'>

/** Both ends of the journals. */
export class Journals {
  readonly #redis: RedisClient
  readonly #keys: Keys
  readonly #control: ControlWriter
  readonly #answers: Answers
  readonly #inbox: string
  readonly #opens: Batches<Opening, NoteAnswer>
  readonly #closes: Batches<Closing, NoteAnswer>
  readonly #parks: Batches<Parking, ParkAnswer>
  readonly #answerings: Batches<Answering, GivenAnswer>

  constructor(redis: RedisClient, keys: Keys) {
    this.#redis = redis
    this.#keys = keys
    this.#control = new ControlWriter(redis, keys)
    this.#inbox = inboxForm(keys)
    this.#answers = new Answers(this.#control, new InboxWriter(redis, keys))
    const batched = <Item extends TaskRef, Result>(
      weigh: (item: Item) => number,
      run: (items: readonly Item[]) => Promise<readonly Result[]>,
    ): Batches<Item, Result> => {
      const options: BatcherOptions<Item, Result> = {
        ...{ maxItems: 100, maxInFlight: 4, weigh },
        run: (items) => runApart(items, (some) => redis.bySlot(some, (item) => this.#journal(item), run)),
      }
      // While a node of a Cluster is away, only the sessions that lie there wait for it.
      return redis.isCluster ? new Batchers(({ sessionId }) => sessionId, options) : new Batcher(options)
    }
    this.#opens = batched(
      ({ called }) => called?.data.length ?? 0,
      (items) => this.#open(items),
    )
    this.#closes = batched(
      ({ result }) => result.length,
      (items) => this.#close(items),
    )
    this.#parks = batched(
      ({ data, ops }) => data.length + ops.length * 100,
      (items) => this.#park(items),
    )
    this.#answerings = batched(
      ({ result }) => result.length,
      (items) => this.#answer(items),
    )
  }

  /** Notes an operation and, if it calls a task, puts that on its control stream. */
  open(opening: Opening): Promise<NoteAnswer> {
    return this.#opens.add(opening)
  }

  /** Records a result of the owner's own; answers the one that is recorded. */
  close(closing: Closing): Promise<NoteAnswer> {
    return this.#closes.add(closing)
  }

  /** Parks a task whose awaited results have not come. */
  park(parking: Parking): Promise<ParkAnswer> {
    return this.#parks.add(parking)
  }

  /** Notes a question and asks it. */
  async ask(question: Question): Promise<NoteAnswer> {
    const { fence, op, entry, sum, event, isAgain = false, streamTtlMs, streamMaxLength, ...ref } = question
    const keys = [this.#record(ref), this.#journal(ref), this.#keys.data(ref.sessionId), this.#blobs(ref)]
    const publish = this.#redis.isCluster ? 'SPUBLISH' : 'PUBLISH'
    const { channelTail } = this.#redis
    const bounds = [streamTtlMs, streamMaxLength]
    const args = [fence, op, entry, sum, event, ...bounds, publish, channelTail, isAgain ? 1 : 0]
    return toNoteAnswer(await this.#redis.script<string[]>('journalAsk', keys, args), fence)
  }

  /** Gives a task the result of an operation from outside, and tells it. */
  answer({ sessionId, messageId }: TaskRef, op: string, result: string, short = 'null'): Promise<GivenAnswer> {
    return this.#answerings.add({ sessionId, messageId, op, result, short })
  }

  /** Tells those who wait for the end of an ended task, once more. */
  async replyAgain(ref: TaskRef): Promise<void> {
    const tells = await this.#redis.script<RawTell[]>('journalReply', [this.#record(ref)], [])
    await this.#answers.tell(toTells(this.#keys, tells))
  }

  async load(ref: TaskRef): Promise<RawJournal> {
    const [time, flat] = (await this.#redis.all<string[]>([['TIME'], ['HGETALL', this.#journal(ref)]])) as [
      string[],
      string[],
    ]
    return toRawJournal(Number(time[0]) * 1_000 + Math.floor(Number(time[1]) / 1_000), flat)
  }

  /** The names of a journal's fields. */
  names(ref: TaskRef): Promise<string[]> {
    return this.#redis.call<string[]>('HKEYS', this.#journal(ref))
  }

  /** What its fields of these names hold; null for those that it has not. */
  async read(ref: TaskRef, names: readonly string[]): Promise<(string | null)[]> {
    return names.length === 0 ? [] : this.#redis.call<(string | null)[]>('HMGET', this.#journal(ref), ...names)
  }

  /** The results of operations that have come, by operation. */
  async results(ref: TaskRef, ops: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>()
    for (let from = 0; from < ops.length; from += 1_000) {
      const part = ops.slice(from, from + 1_000)
      const texts = await this.#redis.call<(string | null)[]>(
        'HMGET',
        this.#journal(ref),
        ...part.map((op) => `=${op}`),
      )
      texts.forEach((text, index) => {
        if (text !== null) found.set(part[index] as string, text)
      })
    }
    await Promise.all([...found].filter(([, text]) => isElsewhere(text)).map(([op]) => this.#complete(ref, op, found)))
    return found
  }

  /** Puts a large result in the place of its short form. */
  async #complete(ref: TaskRef, op: string, found: Map<string, string>): Promise<void> {
    const json = await this.#redis.call<string | null>('HGET', this.#blobs(ref), op)
    if (json === null) throw new GatewayError('GW_RESULT_GONE', { messageId: `${op} of ${ref.messageId}` })
    found.set(
      op,
      (found.get(op) as string).replace(/@.*$/s, () => json),
    )
  }

  /** Forgets all operations; answers how often that was done with this task, or null if the fence does not hold. */
  async drop(ref: TaskRef & { readonly fence: string }): Promise<number | null> {
    const times = await this.#redis.script<number>(
      'journalDrop',
      [this.#record(ref), this.#journal(ref), this.#blobs(ref)],
      [ref.fence],
    )
    return times < 0 ? null : times
  }

  async #open(items: readonly Opening[]): Promise<NoteAnswer[]> {
    const keys = items.flatMap((item) => {
      const { sessionId, messageId, called, isStep } = item
      const child = this.#keys.task(sessionId, called?.messageId ?? messageId)
      const where = isStep ? this.#keys.data(sessionId) : this.#keys.session(sessionId)
      return [this.#record(item), this.#journal(item), child, where, this.#blobs(item)]
    })
    const args = items.flatMap(({ fence, op, entry, sum, called, isStep }) => {
      const { messageId = '', agentType = '', traceId = '', userCode = '', parentMessageId = '' } = called ?? {}
      const kind = isStep ? '2' : called?.replies ? '1' : ''
      const about = [fence, op, entry, sum, messageId, agentType, traceId, userCode, parentMessageId, kind]
      if (called === undefined || this.#redis.isCluster) about.push('', '', '', '')
      else about.push(this.#lane(called), called.data, this.#inbox, this.#keys.newest())
      return about
    })
    const reply = await this.#redis.script<string[][]>('journalOpen', keys, args)
    const unbound = items.flatMap(({ called }, index) =>
      called !== undefined && reply[index]?.[1] === 'unbound' && reply[index]?.length === 3 ? [called] : [],
    )
    if (unbound.length > 0) {
      await this.#control.enqueue(
        unbound.map(({ agentType, priority, data }) => ({ capability: agentType, priority, data })),
      )
    }
    return items.map(({ fence }, index) => toNoteAnswer(reply[index] ?? [], fence))
  }

  async #close(items: readonly Closing[]): Promise<NoteAnswer[]> {
    const reply = await this.#redis.script<string[][]>(
      'journalClose',
      items.flatMap((item) => [this.#record(item), this.#journal(item), this.#blobs(item)]),
      items.flatMap(({ fence, op, entry, result, sum, short = 'null' }) => [fence, op, entry, result, sum, short]),
    )
    return items.map(({ fence }, index) => toNoteAnswer(reply[index] ?? [], fence))
  }

  async #answer(items: readonly Answering[]): Promise<GivenAnswer[]> {
    const reply = await this.#redis.script<[number, ...RawTell[]][]>(
      'journalAnswer',
      items.flatMap((item) => [this.#record(item), this.#journal(item)]),
      items.flatMap(({ op, result, short }) => [op, result, short]),
    )
    await this.#answers.tell(
      toTells(
        this.#keys,
        reply.flatMap(([, ...tells]) => tells),
      ),
    )
    return reply.map(([isNew, tell]) => (isNew === 1 ? 'accepted' : tell === undefined ? 'refused' : 'known'))
  }

  async #park(items: readonly Parking[]): Promise<ParkAnswer[]> {
    const reply = await this.#redis.script<('' | 'ready' | string[])[]>(
      'suspend',
      items.flatMap((item) => {
        const { session, data } = { session: this.#keys.session(item.sessionId), data: this.#keys.data(item.sessionId) }
        return [this.#record(item), this.#journal(item), session, data]
      }),
      items.flatMap(({ fence, waitsFor, capability, priority, data, ops }) => [
        ...[fence, waitsFor, this.#home(capability, priority), data, ops.length],
        ...ops,
      ]),
    )
    return items.map(({ fence }, index): ParkAnswer => {
      const answer = reply[index] ?? ''
      if (typeof answer === 'string') return answer === '' ? { status: 'parked' } : { status: 'ready' }
      return toRefusal(answer, fence)
    })
  }

  /** Where a suspended task goes on; with its control stream where a script may write to that. See lua/include/answers.lua. */
  #home(capability: string, priority: LaneName): string {
    // Who reads lanes of his own has to be woken for them.
    const isOpen = !this.#redis.isCluster && isShared(priority)
    return `${capability} ${priority}${isOpen ? ` ${this.#keys.control(capability, priority)}` : ''}`
  }

  #lane({ agentType, priority }: CalledTask): string {
    return this.#keys.control(agentType, priority)
  }

  #record({ sessionId, messageId }: TaskRef): string {
    return this.#keys.task(sessionId, messageId)
  }

  #journal({ sessionId, messageId }: TaskRef): string {
    return this.#keys.journal(sessionId, messageId)
  }

  #blobs({ sessionId, messageId }: TaskRef): string {
    return this.#keys.blobs(sessionId, messageId)
  }
}

function toNoteAnswer(answer: readonly string[], fence: string): NoteAnswer {
  return answer.length === 3 ? { status: 'noted', text: answer[2] as string } : toRefusal(answer, fence)
}

function toRefusal([holder = '', cancel]: readonly string[], fence: string): Refusal {
  if (holder === fence && cancel !== undefined) return { status: 'cancelled', cancel: parseCancel(cancel) }
  return { status: 'lost', holder }
}
