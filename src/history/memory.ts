import { z } from 'zod'
import type {
  HistoryContent,
  HistoryMessage,
  HistoryPage,
  HistoryRole,
  HistoryStore,
  NewHistoryMessage,
} from '../agent/history.ts'
import { checkId } from '../protocol/ids.ts'
import { parseOptions } from '../util/parse-options.ts'
import { Recent } from '../util/recent.ts'
import { checkMessages, checkPage, placeId } from './check.ts'

/** How much a {@link MemoryHistory} keeps. */
export interface MemoryHistoryOptions {
  /** Most messages of one session; the oldest go first. Default 100. */
  readonly maxMessages?: number
  /** Most sessions; the one in which nothing was said for the longest time goes first. Default 1,000. */
  readonly maxSessions?: number
  /** About how many characters are kept in all. Default 4,194,304. */
  readonly maxLength?: number
}

const count = z.number().int().min(1)
const schema = z.strictObject({
  maxMessages: count.default(100),
  maxSessions: count.default(1_000),
  maxLength: count.default(4_194_304),
})

const NONE: HistoryMessage['metadata'] = Object.freeze({})

/** What a message takes besides its text, counted in characters. */
const OVERHEAD = 100

interface Kept extends Omit<HistoryMessage, 'id' | 'sessionId'> {
  readonly number: number
  readonly length: number
  /** Undefined for what belongs to no task. */
  readonly task: TaskMessages | undefined
}

/** All that was said for one task, and the newest attempt that has spoken. */
interface TaskMessages extends Record<HistoryRole, Kept | undefined> {
  token: number
}

interface Session {
  readonly messages: Kept[]
  /** Of all tasks whose messages are kept. */
  readonly tasks: Recent<TaskMessages>
  length: number
}

/**
 * A history in the memory of this process: the default of a worker. Bounded, gone with the process, and seen by nobody
 * else; a fleet of workers that is to share what was said needs another one.
 */
export class MemoryHistory implements HistoryStore {
  readonly name = 'memory'
  readonly isLocal = true
  readonly #limits: Readonly<Required<MemoryHistoryOptions>>
  /** The one in which something was said last comes last. */
  readonly #sessions = new Map<string, Session>()
  /** The session in which something was said last. */
  #newest: Session | undefined
  #length = 0
  #number = 0

  /** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option. */
  constructor(options: MemoryHistoryOptions = {}) {
    this.#limits = parseOptions(schema, options)
  }

  append(sessionId: string, messages: readonly NewHistoryMessage[]): void {
    checkMessages(messages)
    const session = this.#touch(sessionId)
    for (const message of messages) this.#keep(session, message)
    this.#trim()
  }

  async list(sessionId: string, page?: HistoryPage): Promise<readonly HistoryMessage[]> {
    const { limit, before } = checkPage(sessionId, page)
    const messages = this.#sessions.get(sessionId)?.messages ?? []
    let end = messages.length
    if (before !== undefined) {
      const [time, number] = [Number(before.time), Number(before.number)]
      while (end > 0 && !isBefore(messages[end - 1] as Kept, time, number)) end -= 1
    }
    return messages.slice(Math.max(0, end - limit), end).map((message) => toMessage(sessionId, message))
  }

  async clear(sessionId: string): Promise<void> {
    checkId('sessionId', sessionId)
    const session = this.#sessions.get(sessionId)
    if (session !== undefined) this.#drop(sessionId, session)
  }

  async close(): Promise<void> {
    this.#sessions.clear()
    this.#newest = undefined
    this.#length = 0
  }

  #touch(sessionId: string): Session {
    const known = this.#sessions.get(sessionId)
    if (known !== undefined && known === this.#newest) return known
    if (known !== undefined) this.#sessions.delete(sessionId)
    else checkId('sessionId', sessionId)
    const session = known ?? { messages: [], tasks: new Recent(this.#limits.maxMessages), length: 0 }
    this.#sessions.set(sessionId, session)
    this.#newest = session
    return session
  }

  /** On the way of each task: what can be left for `list` to do, such as the `id`, is left. */
  #keep(session: Session, message: NewHistoryMessage): void {
    const { role, content, messageId = '', fencingToken = 0, metadata = NONE } = message
    const task = messageId === '' ? undefined : taskOf(session, messageId)
    if (task !== undefined) {
      if (task.token > fencingToken) return
      task.token = fencingToken
    }
    const old = task?.[role]
    if (content === '') {
      if (old !== undefined) this.#remove(session, old)
      return
    }
    if (old === undefined) this.#number += 1
    const number = old?.number ?? this.#number
    const createdAt = old?.createdAt ?? Math.floor(message.createdAt ?? Date.now())
    const length = lengthOf(content) + OVERHEAD
    const kept: Kept = { role, content, messageId, metadata, createdAt, fencingToken, number, length, task }
    this.#count(session, length - (old?.length ?? 0))
    if (old !== undefined) session.messages[session.messages.indexOf(old)] = kept
    else insert(session.messages, kept)
    if (task !== undefined) task[role] = kept
    if (session.messages.length > this.#limits.maxMessages) this.#remove(session, session.messages[0] as Kept)
  }

  #remove(session: Session, message: Kept): void {
    if (message === session.messages[0]) session.messages.shift()
    else session.messages.splice(session.messages.indexOf(message), 1)
    this.#count(session, -message.length)
    if (message.task !== undefined) message.task[message.role] = undefined
  }

  get #isFull(): boolean {
    return this.#sessions.size > this.#limits.maxSessions || this.#length > this.#limits.maxLength
  }

  #trim(): void {
    if (!this.#isFull) return
    for (const [sessionId, session] of this.#sessions) {
      if (!this.#isFull || this.#sessions.size === 1) break
      this.#drop(sessionId, session)
    }
    const [session] = this.#sessions.values()
    while (session !== undefined && session.messages.length > 1 && this.#isFull) {
      this.#remove(session, session.messages[0] as Kept)
    }
  }

  #drop(sessionId: string, session: Session): void {
    this.#sessions.delete(sessionId)
    this.#length -= session.length
    if (session === this.#newest) this.#newest = undefined
  }

  #count(session: Session, by: number): void {
    session.length += by
    this.#length += by
  }
}

/** Behind all that are no younger. Where many tasks had waited, what they ask is older than what others have answered. */
function insert(messages: Kept[], message: Kept): void {
  const { createdAt } = message
  if (messages.length === 0 || (messages[messages.length - 1] as Kept).createdAt <= createdAt) {
    messages.push(message)
    return
  }
  let [from, to] = [0, messages.length - 1]
  while (from < to) {
    const middle = (from + to) >> 1
    if ((messages[middle] as Kept).createdAt <= createdAt) from = middle + 1
    else to = middle
  }
  messages.splice(from, 0, message)
}

function isBefore({ createdAt, number }: Kept, time: number, before: number): boolean {
  return createdAt < time || (createdAt === time && number < before)
}

function lengthOf(content: HistoryContent): number {
  return typeof content === 'string' ? content.length : JSON.stringify(content).length
}

function taskOf({ tasks }: Session, messageId: string): TaskMessages {
  const known = tasks.get(messageId)
  if (known !== undefined) return known
  const task = { token: 0, user: undefined, assistant: undefined, system: undefined, tool: undefined }
  tasks.set(messageId, task)
  return task
}

function toMessage(sessionId: string, { number, length: _, task: __, ...message }: Kept): HistoryMessage {
  return { id: placeId(message.createdAt, number), sessionId, ...message }
}
