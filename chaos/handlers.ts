import { setTimeout as sleep } from 'node:timers/promises'
import { type AgentContext, TerminalError } from 'byclaw-gateway-sdk'
import { type Caller, performActs } from './durable/perform.ts'
import type { Marks } from './durable/program.ts'
import type { Note } from './journal.ts'
import { chunkText, type DurableWork, naturalEnd, type Work } from './work.ts'

/** What a handler needs besides its context. */
export interface Desk {
  /** Writes down what happened, at once and for good. */
  readonly note: (note: Note) => void
}

/** Does one attempt of a task as its content says, and writes down what it does. */
export async function perform(
  work: Work & { readonly caller?: Caller },
  context: AgentContext,
  desk: Desk,
): Promise<{ token: number; marks?: Marks }> {
  const attempt = new Attempt(context, desk)
  const { caller } = work
  if (caller !== undefined && work.kind === 'durable') {
    const { messageId: task, sessionId: session } = context
    desk.note({ kind: 'called', task, session, ...caller, work: { kind: 'durable', acts: work.acts } })
  }
  attempt.begin()
  try {
    let marks: Marks | undefined
    if (work.kind === 'durable') marks = await performActs(work, context, (text) => attempt.onSaid(text))
    else await act(work, attempt)
    desk.note({ kind: 'end', ...attempt.identity, how: 'returned' })
    return { token: context.fencingToken, ...(marks === undefined ? {} : { marks }) }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    desk.note({ kind: 'end', ...attempt.identity, how: 'threw', reason })
    throw error
  }
}

class Attempt {
  readonly identity: { readonly task: string; readonly token: number }
  readonly context: AgentContext
  readonly #desk: Desk

  constructor(context: AgentContext, desk: Desk) {
    this.identity = { task: context.messageId, token: context.fencingToken }
    this.context = context
    this.#desk = desk
  }

  begin(): void {
    const { attempt, workerId } = this.context
    this.#desk.note({ kind: 'start', ...this.identity, attempt, worker: workerId, pid: process.pid })
  }

  /** Emits chunk `n`; what is acknowledged is written down. */
  async say(n: number): Promise<void> {
    const { task, token } = this.identity
    await this.context.emitChunk(chunkText(task, n), { metadata: { token, n } })
    this.#desk.note({ kind: 'said', ...this.identity, n })
  }

  /** A durable task's words are told apart by their text: they may have been said in an earlier attempt. */
  onSaid(text: string): void {
    this.#desk.note({ kind: 'spoken', ...this.identity, text })
  }

  /** Does something outside that a token is to guard. */
  touch(): void {
    this.#desk.note({ kind: 'effect', ...this.identity })
  }
}

async function act(work: Exclude<Work, DurableWork>, attempt: Attempt): Promise<void> {
  switch (work.kind) {
    case 'quick':
      return attempt.touch()
    case 'chunks':
      return work.pauseMs === 0 ? burst(work.count, attempt) : stream(work, attempt)
    case 'long':
      return stream(work, attempt)
    case 'deaf':
      return persist(work, attempt)
    case 'cpu':
      return compute(work.ms, attempt)
    case 'terminal':
      await burst(work.count, attempt)
      throw new TerminalError('this is final')
    case 'killer':
      return kill(work, attempt)
    default:
      await burst(work.count, attempt)
      if (work.kind === 'fail' || attempt.context.attempt <= work.times) throw new Error('not this time')
  }
}

async function burst(count: number, attempt: Attempt): Promise<void> {
  attempt.touch()
  await Promise.all(Array.from({ length: count }, (_, n) => attempt.say(n)))
}

async function stream({ count, pauseMs }: { count: number; pauseMs: number }, attempt: Attempt): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    await attempt.say(n)
    attempt.touch()
    await sleep(pauseMs, undefined, { signal: attempt.context.signal })
  }
}

/** Goes on whatever it is told; only the fence keeps what it says out of the session. */
async function persist({ count, pauseMs }: { count: number; pauseMs: number }, attempt: Attempt): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    await attempt.say(n).catch(() => undefined) // deaf: a refusal is no reason to stop
    attempt.touch()
    await sleep(pauseMs)
  }
}

async function compute(ms: number, attempt: Attempt): Promise<void> {
  await attempt.say(0)
  const until = performance.now() + ms
  while (performance.now() < until);
  attempt.touch()
  await attempt.say(1)
}

async function kill(work: Work & { kind: 'killer' }, attempt: Attempt): Promise<void> {
  // A token can be spent without a start (its answer was lost), so that counting tokens alone may stop one death early.
  const killsAgain = naturalEnd(work) === 'FAILED' || attempt.identity.token <= work.times
  if (!killsAgain) return burst(work.count, attempt)
  await attempt.say(0)
  process.kill(process.pid, 'SIGKILL')
  await new Promise(() => undefined)
}
