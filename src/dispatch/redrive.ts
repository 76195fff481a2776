import { decodeCommand } from '../protocol/codec.ts'
import type { ControlWriter, ReturningEntry } from '../store/control-streams.ts'
import { type HeldLetter, returnedFields } from '../store/dead-letter.ts'
import type { DeadLetters } from '../store/dead-letters.ts'
import type { RevivalAnswer, RevivalRequest, TaskRevivals } from '../store/task-revivals.ts'

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
   * - `gone`: somebody else took the letter away meanwhile
   */
  readonly outcome: 'redriven' | 'waiting' | 'running' | 'ended' | 'no-data' | 'gone'
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
    const answers = await this.#revive(
      letters.filter((letter) => isTask(letter) && (data ?? letter.data) !== undefined),
      looksOnly,
    )
    return letters.map((letter) => {
      const { capability, priority } = letter
      const envelope = data ?? letter.data
      if (envelope === undefined) return { letter, entry: undefined, outcome: 'no-data', removes: false }
      const answer = answers.get(letter)
      if (answer !== undefined && answer.status !== 'revived') {
        const outcome = answer.status === 'missing' ? 'gone' : answer.status
        return { letter, entry: undefined, outcome, removes: 'isPast' in answer && answer.isPast }
      }
      const entry = { capability, priority, fields: returnedFields(letter, envelope, answer?.turn) }
      return { letter, entry, outcome: 'redriven', removes: true }
    })
  }

  /** Revives the tasks of letters; where a record is gone, it is made anew of what the envelope says. */
  async #revive(letters: readonly HeldLetter[], looksOnly: boolean): Promise<ReadonlyMap<HeldLetter, RevivalAnswer>> {
    const answers = [...(await this.#revivals.revive(letters.map(toRequest), looksOnly))]
    const missing = answers.flatMap(({ status }, index) => (status === 'missing' ? [index] : []))
    const again = missing.map((index) => withBirth(letters[index] as HeldLetter))
    for (const [position, answer] of (await this.#revivals.revive(again, looksOnly)).entries()) {
      answers[missing[position] as number] = answer
    }
    return new Map(letters.map((letter, index) => [letter, answers[index] as RevivalAnswer]))
  }
}

function isTask({ messageId }: HeldLetter): boolean {
  return messageId !== ''
}

function toRequest({ sessionId, messageId, turn, entryId }: HeldLetter): RevivalRequest {
  return { sessionId, messageId, turn, entryId }
}

function withBirth(letter: HeldLetter): RevivalRequest {
  const { sessionId, messageId, turn, capability, data } = letter
  const decoded = decodeCommand(data?.toString(), Number.MAX_SAFE_INTEGER)
  const header = decoded.ok ? decoded.command.header : decoded.header
  const { traceId = '', parentMessageId = '', userCode = '' } = header ?? {}
  // Above every epoch that the failed life can have had, as far as the letter knows.
  const epoch = Math.max(1, letter.epoch, turn + 1)
  const birth = { sessionId, messageId, agentType: capability, traceId, parentMessageId, userCode, epoch }
  return { ...toRequest(letter), birth }
}

function report({ letter, outcome }: Plan, isRemoved: boolean): RedrivenLetter {
  const { id, capability, sessionId, messageId } = letter
  return { id, capability, sessionId, messageId, outcome, isRemoved }
}
