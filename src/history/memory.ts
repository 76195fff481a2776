import { z } from 'zod'
import type { HistoryMessage, HistoryPage, HistoryRole, HistoryStore, NewHistoryMessage } from '../agent/history.ts'
import { checkId } from '../protocol/ids.ts'
import { parseOptions } from '../util/parse-options.ts'
import { checkMessages, checkPage, jsonFault, placeId } from './check.ts'
import { type LogRecord, MemoryLog, NOWHERE } from './memory-log.ts'

/** How much a {@link MemoryHistory} keeps. */
export interface MemoryHistoryOptions {
  /** Most messages of one session; the oldest go first. Default 100. */
  readonly maxMessages?: number | undefined
  /** Most sessions; the one in which nothing was said for the longest time goes first. Default 1,000. */
  readonly maxSessions?: number | undefined
  /**
   * How many bytes are kept at most, in all; the oldest messages go first, and one that is larger is kept alone. A message
   * takes about 100 besides its text, and a message that was replaced takes its place until then. Default 4,194,304.
   */
  readonly maxLength?: number | undefined
}

const count = z.number().int().min(1)
const schema = z.strictObject({
  maxMessages: count.default(100),
  maxSessions: count.default(1_000),
  maxLength: count.default(4_194_304),
})

const NONE: HistoryMessage['metadata'] = Object.freeze({})

interface Session {
  readonly id: string
  /** Its number among all. */
  readonly number: number
  /** Where its newest message is in the log, or nowhere. */
  newest: number
}

/** All that was said for one task, and the newest attempt that has spoken. */
interface TaskMessages extends Partial<Record<HistoryRole, LogRecord>> {
  token: number
}

/**
 * A history in the memory of this process: the default of a worker. Bounded, gone with the process, and seen by nobody
 * else; a fleet of workers that is to share what was said needs another one.
 *
 * A message is logged as it comes; what it replaces, and where it stands, is found out when somebody reads.
 */
export class MemoryHistory implements HistoryStore {
  readonly name = 'memory'
  readonly isLocal = true
  readonly #limits: Readonly<Required<MemoryHistoryOptions>>
  readonly #sessions = new Map<string, Session>()
  readonly #numbered: (Session | undefined)[] = []
  readonly #freeNumbers: number[] = []
  #log: MemoryLog
  /** Before this position no session has its newest message. */
  #quietUntil = 0
  /** The session to which something is being appended. */
  #speaking: Session | undefined

  /** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option. */
  constructor(options: MemoryHistoryOptions = {}) {
    this.#limits = parseOptions(schema, options)
    this.#log = this.#openLog()
  }

  append(sessionId: string, messages: readonly NewHistoryMessage[]): void {
    checkMessages(messages)
    const session = this.#sessions.get(sessionId) ?? this.#open(sessionId)
    const { newest } = session
    this.#speaking = session
    try {
      this.#say(session, messages)
    } catch (error) {
      // All or none: what was logged of it is not found from anywhere.
      session.newest = newest >= this.#log.tail ? newest : NOWHERE
      throw jsonFault(messages) ?? error
    } finally {
      // No message would ever lead to it.
      if (session.newest === NOWHERE) this.#drop(session)
    }
    if (this.#sessions.size > this.#limits.maxSessions) this.#dropQuietest()
  }

  #say(session: Session, messages: readonly NewHistoryMessage[]): void {
    for (const { role, content, messageId = '', metadata = NONE, createdAt, fencingToken = 0 } of messages) {
      const at = Math.floor(createdAt ?? Date.now())
      const message = { role, content, messageId, metadata, createdAt: at, fencingToken }
      session.newest = this.#log.append(session.number, session.newest, message)
    }
  }

  async list(sessionId: string, page?: HistoryPage): Promise<readonly HistoryMessage[]> {
    const { limit, before } = checkPage(sessionId, page)
    const session = this.#sessions.get(sessionId)
    if (session === undefined) return []
    const said = inOrder(this.#recordsOf(session)).slice(-this.#limits.maxMessages)
    let end = said.length
    if (before !== undefined) {
      const [time, number] = [Number(before.time), Number(before.number)]
      while (end > 0 && !isBefore(said[end - 1] as LogRecord, time, number)) end -= 1
    }
    return said.slice(Math.max(0, end - limit), end).map((record) => toMessage(sessionId, record))
  }

  async clear(sessionId: string): Promise<void> {
    checkId('sessionId', sessionId)
    const session = this.#sessions.get(sessionId)
    if (session !== undefined) this.#drop(session)
  }

  async close(): Promise<void> {
    for (const session of this.#sessions.values()) this.#drop(session)
    this.#log = this.#openLog()
    this.#quietUntil = 0
  }

  #openLog(): MemoryLog {
    return new MemoryLog(this.#limits.maxLength, (number, position) => {
      const session = this.#numbered[number]
      if (session?.newest !== position) return
      if (session === this.#speaking) session.newest = NOWHERE
      else this.#drop(session)
    })
  }

  #open(id: string): Session {
    checkId('sessionId', id)
    const session: Session = { id, number: this.#freeNumbers.pop() ?? this.#numbered.length, newest: NOWHERE }
    this.#numbered[session.number] = session
    this.#sessions.set(id, session)
    return session
  }

  #drop({ id, number }: Session): void {
    this.#sessions.delete(id)
    this.#numbered[number] = undefined
    this.#freeNumbers.push(number)
  }

  /** The first message in the log that is the newest of its session is that of the quietest one. */
  #dropQuietest(): void {
    let position = Math.max(this.#quietUntil, this.#log.tail)
    for (;;) {
      const record = this.#log.owner(position)
      if (record === undefined) return
      position = record.next
      this.#quietUntil = position
      const session = this.#numbered[record.owner]
      if (session?.newest !== record.position) continue
      this.#drop(session)
      return
    }
  }

  /** As they came, of up to twice as many messages as are kept: some may have been taken back. */
  #recordsOf({ newest }: Session): LogRecord[] {
    const records: LogRecord[] = []
    // What a task says anew with each attempt is one message, however often it was said.
    const messages = new Set<string | number>()
    for (let position = newest; position >= this.#log.tail && messages.size < 2 * this.#limits.maxMessages; ) {
      const record = this.#log.read(position)
      const { messageId, role, previous } = record
      records.push(record)
      messages.add(messageId === '' ? position : `${role} ${messageId}`)
      position = previous
    }
    return records.reverse()
  }
}

/** What is left of a session's messages when each has met those of its task, in the order of the session. */
function inOrder(records: readonly LogRecord[]): LogRecord[] {
  const tasks = new Map<string, TaskMessages>()
  const said: LogRecord[] = []
  for (const record of records) {
    const { messageId, role, fencingToken } = record
    if (messageId === '') said.push(record)
    else {
      const task: TaskMessages = tasks.get(messageId) ?? { token: 0 }
      tasks.set(messageId, task)
      if (task.token > fencingToken) continue
      task.token = fencingToken
      const old = task[role]
      const keepsPlace = old !== undefined && isSaid(old)
      task[role] = keepsPlace ? { ...record, createdAt: old.createdAt, position: old.position } : record
    }
  }
  for (const { token: _, ...messages } of tasks.values()) said.push(...Object.values(messages))
  return said.filter(isSaid).sort((a, b) => a.createdAt - b.createdAt || a.position - b.position)
}

/** One without content takes back what was said. */
function isSaid({ content }: LogRecord): boolean {
  return content !== ''
}

function isBefore({ createdAt, position }: LogRecord, time: number, before: number): boolean {
  return createdAt < time || (createdAt === time && position < before)
}

function toMessage(sessionId: string, { position, previous: _, ...message }: LogRecord): HistoryMessage {
  return { id: placeId(message.createdAt, position), sessionId, ...message }
}
