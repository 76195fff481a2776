import { decodeCommand } from '../protocol/codec.ts'
import type { LaneName } from '../redis/keys.ts'
import type { ControlSurvey, Delivery, SurveyedEntry } from '../store/control-survey.ts'
import type { TaskFacts, TaskLane } from '../store/task-facts.ts'

/** So many entries of a task's streams are searched for its own. */
const MOST_ENTRIES = 20_000

/** Where on the control streams a task's entry is. */
export interface Seat {
  readonly priority: LaneName
  /** Set on a lane of one version. */
  readonly version: string | undefined
  readonly entryId: string
  readonly delivery: Delivery | null
  /** From 1, counted among what is not handed out yet; 0 for what is. */
  readonly position: number
}

/**
 * Looks for the entry that will start a task that nobody owns.
 *
 * @param fromMs - Only among those that were written at this time or later, in Unix ms by Redis' clock. Default: all.
 */
export async function findEntry(
  survey: ControlSurvey,
  lanes: readonly TaskLane[],
  task: TaskFacts,
  fromMs = 0,
): Promise<{ readonly seat: Seat | null; readonly isCutOff: boolean }> {
  let seen = 0
  for (const { key, priority, version } of lanes) {
    let waiting = 0
    for await (const { entries } of survey.walk(key, fromMs)) {
      for (const entry of entries) {
        if (!entry.isDelivered) waiting += 1
        if (!isOf(entry, task)) continue
        const { id: entryId, delivery, isDelivered } = entry
        // Neither waiting nor pending: nobody will ever be given it.
        if (isDelivered && delivery === null) continue
        return { seat: { priority, version, entryId, delivery, position: isDelivered ? 0 : waiting }, isCutOff: false }
      }
      seen += entries.length
      if (seen >= MOST_ENTRIES) return { seat: null, isCutOff: true }
    }
  }
  return { seat: null, isCutOff: false }
}

/** True for the entry whose turn it is; an entry without a turn is a first send. */
function isOf({ id, data, turn, delivery }: SurveyedEntry, task: TaskFacts): boolean {
  const { sessionId, messageId, fence, lane } = task
  // Until it is on the lane of the version that is to go on with it, the entry by which it came holds it.
  if (lane === null && fence.state === 'Q' && fence.entryId === id && delivery !== null) return true
  if (turn === '' ? fence.epoch > 0 : Number(turn) !== fence.epoch) return false
  const decoded = decodeCommand(data, Number.MAX_SAFE_INTEGER)
  const header = decoded.ok ? decoded.command.header : decoded.header
  return header?.messageId === messageId && header.sessionId === sessionId
}
