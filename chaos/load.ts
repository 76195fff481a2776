import { setMaxListeners } from 'node:events'
import { type GatewayClient, GatewayError, type ReplyOptions } from 'byclaw-gateway-sdk'
import { sleep } from '../src/util/sleep.ts'
import type { Journal } from './journal.ts'
import type { ReaderPlan, TaskPlan } from './plan.ts'
import { Random } from './random.ts'
import { capabilityOf } from './work.ts'

const SEND_AGAIN_MS = 200
const READ_AGAIN_MS = 100
const RESULT_TIMEOUT_MS = 60_000
const CANCEL_ATTEMPTS = 10
const REPLY_ATTEMPTS = 30

/** A question to a person. */
interface Asked {
  readonly sessionId: string
  readonly messageId: string
  readonly askId: string
  readonly prompt: string
}

/**
 * Those who send, cancel, wait and read. Each writes down what it was told; none gives up because something failed,
 * except senders whom the plan lets give up.
 */
export class Load {
  /** Calls that were answered by an error. */
  errors = 0
  readonly #client: GatewayClient
  readonly #journal: Journal
  readonly #stopping = new AbortController()
  readonly #finishing = new AbortController()
  readonly #senders = new Set<Promise<void>>()
  readonly #waiters: Promise<void>[] = []
  readonly #readers = new Map<string, Promise<void>>()
  /** Readers of single tasks that are not at the end, and their tasks. */
  readonly #unread = new Map<string, string>()
  readonly #accepted = new Set<string>()
  readonly #positions = new Map<string, string>()
  /** Questions that somebody answers or has answered. */
  readonly #asked = new Set<string>()

  constructor(client: GatewayClient, journal: Journal) {
    // Each reader listens.
    setMaxListeners(0, this.#stopping.signal, this.#finishing.signal)
    this.#client = client
    this.#journal = journal
  }

  send(plan: TaskPlan): void {
    this.#track(this.#sendUntilAccepted(plan))
    if (plan.againAfterMs !== undefined) this.#track(this.#later(plan.againAfterMs, () => this.#sendOnce(plan)))
    if (plan.cancelAfterMs !== undefined) this.#track(this.#later(plan.cancelAfterMs, () => this.#cancel(plan)))
    const { awaitAfterMs } = plan
    if (awaitAfterMs !== undefined) this.#waiters.push(this.#later(awaitAfterMs, () => this.#awaitResult(plan)))
  }

  /** Cancels a task now. */
  cancel(plan: TaskPlan): void {
    this.#track(this.#cancel(plan))
  }

  read(plan: ReaderPlan): void {
    if (plan.task !== undefined) this.#unread.set(plan.reader, plan.task)
    this.#readers.set(plan.reader, this.#readToTheEnd(plan))
  }

  /** How many sends and cancels are under way or yet to come. */
  get sending(): number {
    return this.#senders.size
  }

  /** No send is tried again from now on, and nobody waits for a result any more. */
  giveUp(): void {
    this.#finishing.abort()
  }

  /** Tasks that were accepted. */
  get accepted(): ReadonlySet<string> {
    return this.#accepted
  }

  /** How many readers of single tasks have not come to the end of their accepted task. */
  tasksUnderRead(): number {
    return [...this.#unread.values()].filter((task) => this.#accepted.has(task)).length
  }

  /** Id of the last event that a reader was given. */
  position(reader: string): string {
    return this.#positions.get(reader) ?? '0-0'
  }

  /** Ends the readers. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.all([...this.#readers.values(), ...this.#senders, ...this.#waiters])
  }

  #track(work: Promise<void>): void {
    this.#senders.add(work)
    void work.finally(() => this.#senders.delete(work))
  }

  async #later(ms: number, work: () => Promise<unknown>): Promise<void> {
    await sleep(ms, this.#finishing.signal)
    await work()
  }

  async #sendUntilAccepted(plan: TaskPlan): Promise<void> {
    while (!(await this.#sendOnce(plan)) && plan.persistent && !this.#finishing.signal.aborted) {
      await sleep(SEND_AGAIN_MS, this.#finishing.signal)
    }
  }

  /** False if it is not known whether the task was accepted. */
  async #sendOnce({ task, session, work, delayMs, expiresInMs, priority }: TaskPlan): Promise<boolean> {
    this.#journal.note({ kind: 'send', task, session, work, mayExpire: expiresInMs !== undefined })
    const request = {
      ...{ targetAgentType: capabilityOf(work), sessionId: session, messageId: task, content: JSON.stringify(work) },
      ...(delayMs === undefined ? {} : { delayMs }),
      ...(expiresInMs === undefined ? {} : { expiresInMs }),
      ...(priority === undefined ? {} : { priority }),
    }
    try {
      const { status } = await this.#client.sendMessage(request)
      if (status === 'QUEUED') this.#accepted.add(task)
      this.#journal.note({ kind: 'answer', task, status })
      return true
    } catch (error) {
      this.errors += 1
      this.#journal.note({ kind: 'answer', task, status: 'ERROR', code: codeOf(error) })
      return false
    }
  }

  /** Asks until there is an answer. */
  async #cancel({ task, session, cancelMode }: TaskPlan): Promise<void> {
    for (let attempt = 1; attempt <= CANCEL_ATTEMPTS; attempt += 1) {
      this.#journal.note({ kind: 'cancel', task })
      try {
        const options = { sessionId: session, messageId: task, reason: 'chaos', mode: cancelMode }
        const { status } = await this.#client.cancelTask(options)
        this.#journal.note({ kind: 'cancelled', task, status })
        return
      } catch (error) {
        this.errors += 1
        this.#journal.note({ kind: 'cancelled', task, status: 'ERROR', code: codeOf(error) })
        await sleep(SEND_AGAIN_MS)
      }
    }
  }

  async #awaitResult({ task, session }: TaskPlan): Promise<void> {
    while (!this.#finishing.signal.aborted) {
      try {
        const { signal } = this.#finishing
        const options = { sessionId: session, messageId: task, timeoutMs: RESULT_TIMEOUT_MS, signal }
        const { status, attempts } = await this.#client.result(options)
        this.#journal.note({ kind: 'result', task, status, attempts })
        return
      } catch {
        if (this.#finishing.signal.aborted) return
        this.errors += 1
        await sleep(READ_AGAIN_MS)
      }
    }
  }

  /** Answers a question with itself, once or twice, a while after it was asked. */
  #answer({ sessionId, messageId, askId, prompt }: Asked): void {
    if (this.#asked.has(askId)) return
    this.#asked.add(askId)
    const random = new Random(this.#asked.size, askId)
    const reply = { sessionId, messageId, askId, content: prompt }
    for (let times = random.integer(1, 2); times > 0; times -= 1) {
      this.#track(this.#later(random.pick([0, 5, 100, 1_000, 3_000]), () => this.#replyUntilTold(reply)))
    }
  }

  async #replyUntilTold(reply: ReplyOptions): Promise<void> {
    for (let attempt = 1; attempt <= REPLY_ATTEMPTS; attempt += 1) {
      try {
        // What a user interface does that was opened later.
        const pending = await this.#client.pendingAsks(reply.sessionId)
        const isPending = pending.some(({ askId }) => askId === reply.askId)
        const { status } = await this.#client.reply(reply)
        const isOdd = status === 'INVALID' || (isPending && status === 'NOT_FOUND')
        this.#journal.note({ kind: 'replied', ask: reply.askId, status: isOdd ? 'ODD' : status })
        return
      } catch {
        this.errors += 1
        await sleep(SEND_AGAIN_MS)
      }
    }
  }

  async #readToTheEnd(plan: ReaderPlan): Promise<void> {
    const { reader } = plan
    while (!this.#stopping.signal.aborted) {
      try {
        if (await this.#readSome(plan)) {
          this.#unread.delete(reader)
          this.#journal.note({ kind: 'read', reader, how: 'ended' })
          return
        }
      } catch {
        // It goes on where it was.
        this.errors += 1
        await sleep(READ_AGAIN_MS)
      }
    }
    this.#journal.note({ kind: 'read', reader, how: 'stopped' })
  }

  /** Reads until the task is done, true, or until it is time to leave. */
  async #readSome({ reader, session, task, leavesAfter = Number.POSITIVE_INFINITY }: ReaderPlan): Promise<boolean> {
    const { signal } = this.#stopping
    const after = this.position(reader)
    const subscription = this.#client.subscribe(session, { after, signal, ...(task ? { messageId: task } : {}) })
    let left = leavesAfter
    let done = false
    for await (const event of subscription) {
      const { id, type, messageId } = event
      this.#positions.set(reader, id)
      this.#journal.note({ kind: 'seen', reader, id, type })
      if (event.type === 'ask_user') this.#answer(event)
      done ||= type === 'done' && messageId === task
      left -= 1
      if (left <= 0 && !done) return false
    }
    return done
  }
}

function codeOf(error: unknown): string {
  return error instanceof GatewayError ? error.code : String(error)
}
