import { decodeCommand } from '../protocol/codec.ts'
import type { ControlWriter, ReturningEntry } from '../store/control-writer.ts'
import { type HeldLetter, returnedFields } from '../store/dead-letter.ts'
import type { DeadLetters } from '../store/dead-letters.ts'
import type { Birth, RevivalAnswer, RevivalRequest, TaskRevivals } from '../store/task-revivals.ts'

/** What became of one letter, or would become of it. */
export interface RedrivenLetter {
  readonly id: string
  readonly capability: string
  readonly sessionId: string
  readonly messageId: string
  /**
   * - `redriven`: it is on its control stream again
   * - `waiting`, `running`: its task is with the workers already
   * - `ended`: its task came to another end than `FAILED`, or ran again since
   * - `no-data`: there is no envelope that could go back
   * - `wrong-kind`: its control stream, its task's record or its session's index is a key of another kind, somebody else's
   * - `gone`: somebody else took the letter away meanwhile
   */
  readonly outcome: 'redriven' | 'waiting' | 'running' | 'ended' | 'no-data' | 'wrong-kind' | 'gone'
  /** True where there is no letter any more. */
  readonly isRemoved: boolean
}

/** A letter with what is to be done about it. */
interface Plan {
  readonly letter: HeldLetter
  /** What goes back; undefined: nothing. */
  readonly entry: ReturningEntry | undefined
  readonly outcome: RedrivenLetter['outcome']
  readonly removes: boolean
}

/**
 * The way back from the dead letters, in three steps: the record waits for an entry again, the entry goes to its
 * stream, the letter goes. Whoever dies in between leaves the letter, and the next one takes all steps once more: the
 * record then says it waits already, and of two entries with one turn the second is stale.
 */
export class Redriver {
  readonly #letters: DeadLetters
  readonly #revivals: TaskRevivals
  readonly #control: ControlWriter

  constructor(stores: { letters: DeadLetters; revivals: TaskRevivals; control: ControlWriter }) {
    this.#letters = stores.letters
    this.#revivals = stores.revivals
    this.#control = stores.control
  }

  /**
   * Redrives letters of one capability.
   *
   * @param options.data - Envelope to send in place of the letter's own; checked by the caller, for one letter only.
   */
  async redrive(
    letters: readonly HeldLetter[],
    options: { readonly looksOnly: boolean; readonly data?: string | undefined },
  ): Promise<RedrivenLetter[]> {
    const plans = await this.#plan(letters, options)
    if (options.looksOnly) return plans.map((plan) => report(plan, plan.removes))
    await this.#control.giveBack(plans.flatMap(({ entry }) => (entry === undefined ? [] : [entry])))
    const leaving = plans.filter(({ removes }) => removes)
    const [first] = leaving
    if (first === undefined) return plans.map((plan) => report(plan, false))
    const removed = await this.#letters.discard(
      first.letter.capability,
      leaving.map(({ letter }) => letter),
    )
    const wasThere = new Map(leaving.map((plan, index) => [plan, removed[index] === true]))
    return plans.map((plan) => report(wasThere.get(plan) === false ? { ...plan, outcome: 'gone' } : plan, plan.removes))
  }

  async #plan(
    letters: readonly HeldLetter[],
    { looksOnly, data }: { readonly looksOnly: boolean; readonly data?: string | undefined },
  ): Promise<Plan[]> {
    // Asked first: a task that is revived waits for its entry.
    const isStream = await this.#control.areStreams(letters)
    const blocked = new Set(letters.filter((_, index) => isStream[index] === false))
    const tasks = letters.filter(
      (letter) => letter.messageId !== '' && (data ?? letter.data) !== undefined && !blocked.has(letter),
    )
    const revivals = await this.#revivals.revive(tasks.map(toRequest), looksOnly)
    const answers = new Map(tasks.map((letter, index) => [letter, revivals[index] as RevivalAnswer]))
    return letters.map((letter) => {
      const { capability, priority } = letter
      const envelope = data ?? letter.data
      if (envelope === undefined) return { letter, entry: undefined, outcome: 'no-data', removes: false }
      if (blocked.has(letter)) return { letter, entry: undefined, outcome: 'wrong-kind', removes: false }
      const answer = answers.get(letter)
      if (answer !== undefined && answer.status !== 'revived') {
        return { letter, entry: undefined, outcome: answer.status, removes: answer.isPast }
      }
      const entry = { capability, priority, fields: returnedFields(letter, envelope, answer?.turn) }
      return { letter, entry, outcome: 'redriven', removes: true }
    })
  }
}

function toRequest(letter: HeldLetter): RevivalRequest {
  const { sessionId, messageId, turn, entryId } = letter
  return { sessionId, messageId, turn, entryId, birth: () => birthOf(letter) }
}

/** What the envelope says of its task. */
function birthOf({ sessionId, messageId, turn, epoch, capability, data }: HeldLetter): Birth {
  const decoded = decodeCommand(data?.toString(), Number.MAX_SAFE_INTEGER)
  const header = decoded.ok ? decoded.command.header : decoded.header
  const { traceId = '', parentMessageId = '', userCode = '' } = header ?? {}
  const ids = { sessionId, messageId, agentType: capability, traceId, parentMessageId, userCode }
  // Above every epoch that the failed life can have had, as far as the letter knows.
  return { ...ids, epoch: Math.max(1, epoch, turn + 1) }
}

function report({ letter, outcome }: Plan, isRemoved: boolean): RedrivenLetter {
  const { id, capability, sessionId, messageId } = letter
  return { id, capability, sessionId, messageId, outcome, isRemoved }
}
