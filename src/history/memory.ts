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

/** What a message takes besides its text, counted in characters. */
const OVERHEAD = 100

interface Kept extends HistoryMessage {
  readonly number: number
  readonly length: number
}

/** All that was said for one task, and the newest attempt that has spoken. */
interface TaskMessages {
  token: number
  readonly byRole: Partial<Record<HistoryRole, Kept>>
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
  #length = 0
  #number = 0

  /** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option. */
  constructor(options: MemoryHistoryOptions = {}) {
    this.#limits = parseOptions(schema, options)
  }

  append(sessionId: string, messages: readonly NewHistoryMessage[]): void {
    checkMessages(messages)
    const session = this.#touch(sessionId)
    for (const message of messages) this.#keep(sessionId, session, message)
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
    return messages.slice(Math.max(0, end - limit), end).map(toMessage)
  }

  async clear(sessionId: string): Promise<void> {
    checkId('sessionId', sessionId)
    const session = this.#sessions.get(sessionId)
    if (session !== undefined) this.#drop(sessionId, session)
  }

  async close(): Promise<void> {
    this.#sessions.clear()
    this.#length = 0
  }

  #touch(sessionId: string): Session {
    const known = this.#sessions.get(sessionId)
    if (known !== undefined) this.#sessions.delete(sessionId)
    else checkId('sessionId', sessionId)
    const session = known ?? { messages: [], tasks: new Map(), length: 0 }
    this.#sessions.set(sessionId, session)
    return session
  }

  #keep(sessionId: string, session: Session, message: NewHistoryMessage): void {
    const { role, content, messageId = '', fencingToken = 0, metadata = {} } = message
    let task = messageId === '' ? undefined : session.tasks.get(messageId)
    if (task !== undefined && task.token > fencingToken) return
    const old = task?.byRole[role]
    if (task !== undefined) task.token = fencingToken
    if (old !== undefined && content === '') {
      this.#remove(session, old)
      return
    }
    if (content === '') return
    const createdAt = old?.createdAt ?? Math.floor(message.createdAt ?? Date.now())
    if (old === undefined) this.#number += 1
    const number = old?.number ?? this.#number
    const length = lengthOf(content) + OVERHEAD
    const id = placeId(createdAt, number)
    const kept: Kept = { id, sessionId, role, content, messageId, metadata, createdAt, fencingToken, number, length }
    if (messageId !== '') {
      if (task === undefined) {
        task = { token: fencingToken, byRole: {} }
        session.tasks.set(messageId, task)
      }
      task.byRole[role] = kept
    }
    this.#count(session, length - (old?.length ?? 0))
    if (old !== undefined) session.messages[session.messages.indexOf(old)] = kept
    else insert(session.messages, kept)
    if (session.messages.length > this.#limits.maxMessages) this.#remove(session, session.messages[0] as Kept)
  }

  #remove(session: Session, message: Kept): void {
    session.messages.splice(session.messages.indexOf(message), 1)
    this.#count(session, -message.length)
    const task = session.tasks.get(message.messageId)
    if (task === undefined) return
    delete task.byRole[message.role]
    if (Object.keys(task.byRole).length === 0) session.tasks.delete(message.messageId)
  }

  #trim(): void {
    for (const [sessionId, session] of this.#sessions) {
      const isFull = this.#sessions.size > this.#limits.maxSessions || this.#length > this.#limits.maxLength
      if (!isFull) return
      if (this.#sessions.size > 1) this.#drop(sessionId, session)
    }
    const [session] = this.#sessions.values()
    while (session !== undefined && session.messages.length > 1 && this.#length > this.#limits.maxLength) {
      this.#remove(session, session.messages[0] as Kept)
    }
  }

  #drop(sessionId: string, session: Session): void {
    this.#sessions.delete(sessionId)
    this.#length -= session.length
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

function toMessage({ number: _, length: __, ...message }: Kept): HistoryMessage {
  return message
}
