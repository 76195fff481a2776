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
  /** About how many characters are kept at most, in all. Default 4,194,304. */
  readonly maxLength?: number
}

const count = z.number().int().min(1)
const schema = z.strictObject({
  maxMessages: count.default(100),
  maxSessions: count.default(1_000),
  maxLength: count.default(4_194_304),
})

const NONE: HistoryMessage['metadata'] = Object.freeze({})

/** So much of the most is kept when there was too much: trimming is not for each message. */
const TRIMMED_SHARE = 7 / 8

/** What a message takes besides its text, counted in characters. */
const OVERHEAD = 100

/** A message as it came, or in its place. One without content takes back what was said. */
interface Kept extends Omit<HistoryMessage, 'id' | 'sessionId'> {
  readonly number: number
  readonly length: number
}

/** All that was said for one task, and the newest attempt that has spoken. */
interface TaskMessages extends Partial<Record<HistoryRole, Kept>> {
  token: number
}

interface Session {
  /** First `tidy` messages in their order, one for each task and role; then, as they came, what was appended since. */
  messages: Kept[]
  tidy: number
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
    if (session.messages.length > 2 * this.#limits.maxMessages) this.#tidy(session)
    this.#trim()
  }

  async list(sessionId: string, page?: HistoryPage): Promise<readonly HistoryMessage[]> {
    const { limit, before } = checkPage(sessionId, page)
    const session = this.#sessions.get(sessionId)
    if (session !== undefined) this.#tidy(session)
    const messages = (session?.messages ?? []).filter(isSaid)
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
    const session = known ?? { messages: [], tidy: 0, length: 0 }
    this.#sessions.set(sessionId, session)
    this.#newest = session
    return session
  }

  /** On the way of each task: what can be left for later, is left. */
  #keep(session: Session, message: NewHistoryMessage): void {
    const { role, content, messageId = '', fencingToken = 0, metadata = NONE } = message
    this.#number += 1
    const createdAt = Math.floor(message.createdAt ?? Date.now())
    const length = lengthOf(content) + OVERHEAD
    session.messages.push({ role, content, messageId, metadata, createdAt, fencingToken, number: this.#number, length })
    session.length += length
    this.#length += length
  }

  /** Puts what came since the last time in its place, in the place of what it replaces, or nowhere. */
  #tidy(session: Session): void {
    if (session.tidy === session.messages.length) return
    const inOrder = tidied(session).sort(byPlace)
    let surplus = inOrder.filter(isSaid).length - this.#limits.maxMessages
    let from = 0
    while (surplus > 0) if (isSaid(inOrder[from++] as Kept)) surplus -= 1
    session.messages = from === 0 ? inOrder : inOrder.slice(from)
    session.tidy = session.messages.length
    const length = session.messages.reduce((sum, message) => sum + message.length, 0)
    this.#length += length - session.length
    session.length = length
  }

  #trim(): void {
    const { maxSessions, maxLength } = this.#limits
    if (this.#sessions.size > maxSessions) this.#dropOldest()
    if (this.#length <= maxLength) return
    // What was replaced does not count.
    for (const session of this.#sessions.values()) this.#tidy(session)
    if (this.#length <= maxLength) return
    const most = maxLength * TRIMMED_SHARE
    while (this.#length > most && this.#sessions.size > 1) this.#dropOldest()
    const [session] = this.#sessions.values()
    if (session !== undefined && this.#length > most) this.#shorten(session, most)
  }

  /** Leaves the newest messages of the only session, at least one. */
  #shorten(session: Session, most: number): void {
    const { messages } = session
    let from = 0
    while (from < messages.length - 1 && session.length > most) session.length -= (messages[from++] as Kept).length
    session.messages = messages.slice(from)
    session.tidy = session.messages.length
    this.#length = session.length
  }

  #dropOldest(): void {
    const [oldest] = this.#sessions
    if (oldest !== undefined) this.#drop(...oldest)
  }

  #drop(sessionId: string, session: Session): void {
    this.#sessions.delete(sessionId)
    this.#length -= session.length
    if (session === this.#newest) this.#newest = undefined
  }
}

/** What is left of a session's messages when each has met those of its task; in no order. */
function tidied({ messages, tidy }: Session): Kept[] {
  const tasks = new Map<string, TaskMessages>()
  const others: Kept[] = []
  messages.forEach((message, index) => {
    const { messageId, role, fencingToken } = message
    if (messageId === '') {
      if (isSaid(message)) others.push(message)
      return
    }
    const task: TaskMessages = tasks.get(messageId) ?? { token: 0 }
    tasks.set(messageId, task)
    if (index >= tidy && task.token > fencingToken) return
    task.token = Math.max(task.token, fencingToken)
    const old = task[role]
    const keepsPlace = old !== undefined && isSaid(old)
    task[role] = keepsPlace ? { ...message, createdAt: old.createdAt, number: old.number } : message
  })
  return [...others, ...[...tasks.values()].flatMap(({ token: _, ...said }) => Object.values(said))]
}

function isSaid({ content }: Kept): boolean {
  return content !== ''
}

function byPlace(a: Kept, b: Kept): number {
  return a.createdAt - b.createdAt || a.number - b.number
}

function isBefore({ createdAt, number }: Kept, time: number, before: number): boolean {
  return createdAt < time || (createdAt === time && number < before)
}

function lengthOf(content: HistoryContent): number {
  return typeof content === 'string' ? content.length : JSON.stringify(content).length
}

function toMessage(sessionId: string, { number, length: _, ...message }: Kept): HistoryMessage {
  return { id: placeId(message.createdAt, number), sessionId, ...message }
}
