import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { checkerOf } from '../agent/json-schema.ts'
import { errorMessage } from '../errors.ts'
import { askIdOf, type TaskRef } from '../protocol/ids.ts'
import { isObject, parseJson } from '../protocol/json.ts'
import { isEnded } from '../store/fence.ts'
import type { Journals } from '../store/journals.ts'
import type { KinReader } from '../store/kin.ts'
import type { TaskRecords } from '../store/task-records.ts'

/** A question that waits for an answer. */
export interface PendingAsk extends TaskRef {
  readonly askId: string
  readonly prompt: string
  /** What the answer must look like, as JSON Schema. */
  readonly schema?: unknown
  readonly options?: unknown
  /** Unix ms by Redis' clock. */
  readonly askedAt: number
}

/** What became of a reply. */
export type ReplyStatus =
  /** The task goes on with it. */
  | 'ACCEPTED'
  /** An answer was there before; it stays. */
  | 'ALREADY_ANSWERED'
  /** There is no such task or question. */
  | 'NOT_FOUND'
  /** The task has its end, or the time for an answer is over. */
  | 'CLOSED'
  /** It does not fit the question's schema or options. */
  | 'INVALID'

interface Ask extends PendingAsk {
  readonly op: string
  /** The result, if there is one. */
  readonly result: string | undefined
}

/** How the names of operations that ask end; what else ends so has no question in it. */
const ASKING = /^(?!=).*\/ask:#\d+(?:~\d+)?$/s

/** The questions of tasks to people, seen from outside. */
export class Asks {
  readonly #journals: Journals
  readonly #records: TaskRecords
  readonly #kin: KinReader
  readonly #maxBytes: number

  /** @param options.maxBytes - The largest answer. */
  constructor(options: { journals: Journals; records: TaskRecords; kin: KinReader; maxBytes: number }) {
    this.#journals = options.journals
    this.#records = options.records
    this.#kin = options.kin
    this.#maxBytes = options.maxBytes
  }

  /** Answers a question; the same answer twice does no harm. `reason` says why it is invalid. */
  async reply(
    ref: TaskRef,
    askId: string,
    content: unknown,
  ): Promise<{ readonly status: ReplyStatus; readonly reason?: string }> {
    const [state, names] = await Promise.all([this.#stateOf(ref), this.#journals.names(ref)])
    if (state !== 'open') return { status: state }
    const op = names.find((name) => ASKING.test(name) && askIdOf(ref.messageId, name) === askId)
    const [ask] = op === undefined ? [] : await this.#load(ref, [op])
    if (ask === undefined) {
      // The task may have come to its end between the two looks, and its questions with it.
      return { status: (await this.#stateOf(ref)) === 'open' ? 'NOT_FOUND' : 'CLOSED' }
    }
    const reason = ask.result === undefined ? this.#fault(ask, content) : null
    if (reason !== null) return { status: 'INVALID', reason }
    // Also where there is an answer: whoever gave it may not have told the task.
    const answer = JSON.stringify({ s: 'A', v: content ?? null, id: randomUUID() })
    const given = await this.#journals.answer(ref, ask.op, answer, '{"s":"A"}')
    if (given === 'accepted') return { status: 'ACCEPTED' }
    if (given === 'refused') return { status: 'CLOSED' }
    const result = ask.result ?? (await this.#journals.results(ref, [ask.op])).get(ask.op) ?? ''
    // Sent again after a lost reply, it met what its first copy had brought.
    if (result.endsWith(answer)) return { status: 'ACCEPTED' }
    return { status: isTimeout(result) ? 'CLOSED' : 'ALREADY_ANSWERED' }
  }

  /** The questions of a session that wait for an answer, oldest first. */
  async pending(sessionId: string): Promise<PendingAsk[]> {
    const kin = await this.#kin.open(sessionId)
    const open = kin.filter(({ isEnded }) => !isEnded)
    const asks = await Promise.all(open.map(({ messageId }) => this.#open({ sessionId, messageId })))
    const waiting = asks.flat().map(({ op: _, result: _r, ...ask }) => ask)
    return waiting.sort((a, b) => a.askedAt - b.askedAt)
  }

  /** Those of a task. */
  async #open(ref: TaskRef): Promise<Ask[]> {
    const names = new Set(await this.#journals.names(ref))
    const ops = [...names].filter((name) => ASKING.test(name) && !names.has(`=${name}`))
    return (await this.#load(ref, ops)).filter(({ result }) => result === undefined)
  }

  #fault(ask: PendingAsk, content: unknown): string | null {
    const fault = contentFault(ask, content)
    if (fault !== null) return fault
    const bytes = Buffer.byteLength(JSON.stringify(content ?? null))
    return bytes > this.#maxBytes ? `has ${bytes} bytes, the limit is ${this.#maxBytes}` : null
  }

  async #stateOf(ref: TaskRef): Promise<'open' | 'NOT_FOUND' | 'CLOSED'> {
    const task = await this.#records.peek(ref)
    if (task === null) return 'NOT_FOUND'
    return isEnded(task.fence) ? 'CLOSED' : 'open'
  }

  /** The questions of such operations: not the whole journal, whose results may be large, and many. */
  async #load(ref: TaskRef, ops: readonly string[]): Promise<Ask[]> {
    const texts = await this.#journals.read(
      ref,
      ops.flatMap((op) => [op, `=${op}`]),
    )
    return ops.flatMap((op, index): Ask[] => {
      const [text, result] = [texts[2 * index] ?? '', texts[2 * index + 1] ?? undefined]
      const json = parseJson(text.slice(text.indexOf(' ') + 1))
      if (!json.ok || !isObject(json.value) || typeof json.value.i !== 'string') return []
      const { i: askId, p: prompt, s: schema, o: options } = json.value
      const about = { sessionId: ref.sessionId, messageId: ref.messageId, askId: String(askId), prompt: String(prompt) }
      return [{ ...about, schema, options, askedAt: Number.parseInt(text, 10), op, result }]
    })
  }
}

function isTimeout(result: string): boolean {
  return result.endsWith('{"s":"TIMEOUT"}')
}

/** Why an answer does not fit, or null if it does. */
function contentFault({ schema, options }: PendingAsk, content: unknown): string | null {
  const json = toJson(content)
  if (!json.ok) return json.reason
  const fault = isObject(schema) ? schemaFault(schema, json.value) : null
  if (fault !== null || !Array.isArray(options)) return fault
  const choices: unknown[] = options.map((option) => (isObject(option) && 'value' in option ? option.value : option))
  // In whatever order its members come: a database or another language may have changed that.
  if (choices.some((choice) => isDeepStrictEqual(choice, json.value))) return null
  return `must be one of ${choices.map((choice) => JSON.stringify(choice)).join(', ')}`
}

function schemaFault(schema: Record<string, unknown>, content: unknown): string | null {
  const made = checkerOf(schema)
  // What cannot be checked here is left to the agent, who was told when he asked.
  if (!made.ok) return null
  const checked = made.checker.safeParse(content)
  if (checked.success) return null
  return checked.error.issues.map(({ path, message }) => [...path.map(String), message].join(': ')).join('; ')
}

function toJson(value: unknown): { ok: true; value: unknown } | { ok: false; reason: string } {
  try {
    return { ok: true, value: JSON.parse(JSON.stringify(value ?? null)) }
  } catch (error) {
    return { ok: false, reason: errorMessage(error) }
  }
}
