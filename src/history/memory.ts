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
}

/** All that was said for one task, and the newest attempt that has spoken. */
interface TaskMessages extends Record<HistoryRole, Kept | undefined> {
  token: number
  count: number
}

interface Session {
  readonly messages: Kept[]
  readonly tasks: Map<string, TaskMessages>
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
    const session = known ?? { messages: [], tasks: new Map(), length: 0 }
    this.#sessions.set(sessionId, session)
    this.#newest = session
    return session
  }

  /** On the way of each task: what can be left for `list` to do, such as the `id`, is left. */
  #keep(session: Session, message: NewHistoryMessage): void {
    const { role, content, messageId = '', fencingToken = 0, metadata = NONE } = message
    const task = messageId === '' ? undefined : session.tasks.get(messageId)
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
    const kept: Kept = { role, content, messageId, metadata, createdAt, fencingToken, number, length }
    this.#count(session, length - (old?.length ?? 0))
    if (old !== undefined) session.messages[session.messages.indexOf(old)] = kept
    else insert(session.messages, kept)
    if (messageId !== '') note(session, task, kept)
    if (session.messages.length > this.#limits.maxMessages) this.#remove(session, session.messages[0] as Kept)
  }

  #remove(session: Session, message: Kept): void {
    if (message === session.messages[0]) session.messages.shift()
    else session.messages.splice(session.messages.indexOf(message), 1)
    this.#count(session, -message.length)
    const task = session.tasks.get(message.messageId)
    if (task === undefined) return
    task[message.role] = undefined
    task.count -= 1
    if (task.count === 0) session.tasks.delete(message.messageId)
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

function insert(messages: Kept[], message: Kept): void {
  let at = messages.length
  while (at > 0 && (messages[at - 1] as Kept).createdAt > message.createdAt) at -= 1
  if (at === messages.length) messages.push(message)
  else messages.splice(at, 0, message)
}

function isBefore({ createdAt, number }: Kept, time: number, before: number): boolean {
  return createdAt < time || (createdAt === time && number < before)
}

function lengthOf(content: HistoryContent): number {
  return typeof content === 'string' ? content.length : JSON.stringify(content).length
}

/** Notes a message with what else was said for its task. */
function note(session: Session, known: TaskMessages | undefined, kept: Kept): void {
  const { role, messageId, fencingToken: token } = kept
  const task = known ?? { token, count: 0, user: undefined, assistant: undefined, system: undefined, tool: undefined }
  if (known === undefined) session.tasks.set(messageId, task)
  if (task[role] === undefined) task.count += 1
  task[role] = kept
}

function toMessage(sessionId: string, { number, length: _, ...message }: Kept): HistoryMessage {
  return { id: placeId(message.createdAt, number), sessionId, ...message }
}
