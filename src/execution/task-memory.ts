import type { TaskContext } from '../context/task-context.ts'
import type { HistoryKeeper } from '../history/keeper.ts'
import { Parcel } from '../history/parcel.ts'
import { AskAgentCommand } from '../protocol/command.ts'
import type { Assignment } from './assignment.ts'
import { type Outcome, spokenContent } from './outcome.ts'

/** Longest text that an answer keeps, in characters. */
const MOST_LENGTH = 4 * 1_048_576

/**
 * What one attempt leaves in its session's history: what was asked, when the handler starts, and what was answered, before
 * the end is recorded. Only what people ask is kept: what agents ask each other on their behalf belongs to the answer.
 */
export class TaskMemory {
  readonly #keeper: HistoryKeeper
  readonly #assignment: Assignment
  readonly #context: TaskContext
  /** What was asked. */
  readonly #question: Parcel
  /** It is being kept. */
  readonly #asked: Promise<void> | undefined

  /** For a task that {@link isWanted}. */
  constructor(keeper: HistoryKeeper, assignment: Assignment, context: TaskContext) {
    this.#keeper = keeper
    this.#assignment = assignment
    this.#context = context
    const { header, command, createdAt, ownership } = assignment
    const { messageId, metadata } = header
    const fencingToken = ownership.epoch
    const message = {
      role: 'user',
      content: (command as AskAgentCommand).content,
      messageId,
      metadata,
      createdAt,
      fencingToken,
    } as const
    this.#question = new Parcel(header.sessionId, message)
    this.#asked = keeper.keepSoon(this.#question)
    if (this.#asked !== undefined) context.awaitHistory(() => this.settled())
  }

  /** True for a task that has a place in the history. */
  static isWanted({ command, header }: Assignment): boolean {
    return header.parentMessageId === '' && command instanceof AskAgentCommand
  }

  /** Keeps what was answered, and sees that what was asked is kept; answers nothing if both are. */
  answer(outcome: Outcome): Promise<void> | undefined {
    const { text } = this.#context
    if (text.isWhole) {
      const kept = this.#keep(outcome, text.kept)
      const asked = this.settled()
      if (kept === undefined || kept === asked) return asked
      return asked === undefined ? kept : both(asked, kept)
    }
    return this.#answerFromStream(outcome)
  }

  /** Resolves when nothing more of this attempt is under way. */
  settled(): Promise<void> | undefined {
    if (this.#asked !== undefined) this.#keeper.hurry()
    return this.#asked
  }

  async #answerFromStream(outcome: Outcome): Promise<void> {
    await this.settled()
    await this.#keep(outcome, (await this.#context.readText()).slice(0, MOST_LENGTH))
  }

  #keep(outcome: Outcome, streamed: string): Promise<void> | undefined {
    const { header, agentType, createdAt, ownership } = this.#assignment
    const { epoch, attempt } = ownership
    const content = spokenContent(outcome, streamed)
    // Nothing to say, and nobody who could have said anything before.
    if (content === '' && epoch === 1) return undefined
    const { status } = outcome
    const metadata = status === 'COMPLETED' ? { agentType, attempt } : { agentType, attempt, status }
    const at = Math.max(this.#keeper.now(), createdAt + 1) // clocks may differ, but an answer follows its question
    const ids = { messageId: header.messageId, metadata, createdAt: at, fencingToken: epoch }
    const message = { role: 'assistant', content, ...ids } as const
    if (this.#question.add(message)) return this.settled()
    return this.#keeper.keep(new Parcel(header.sessionId, message))
  }
}

async function both(first: Promise<void>, second: Promise<void>): Promise<void> {
  await first
  await second
}
