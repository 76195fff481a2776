import type { SessionEvent } from '../protocol/event.ts'
import type { TaskRef } from '../protocol/ids.ts'
import { compareEntryIds } from '../redis/streams.ts'
import type { TaskRecords } from '../store/task-records.ts'
import { begun, checkCallback } from './callback.ts'
import { EMPTY_VIEW, Fold, foldInto, taskIn } from './fold.ts'
import type { Subscriptions } from './subscriptions.ts'
import { isEnd } from './task-result.ts'
import { withinTime } from './time-limit.ts'

/** How to read a task's text. */
export interface TextOptions {
  /** Gives up, rejecting with the signal's reason; the task goes on. */
  readonly signal?: AbortSignal | undefined
  /** How long to wait for the end, in ms. Default for ever. */
  readonly timeoutMs?: number | undefined
  /**
   * Called with the whole text as it stands, and the event that made it so, whenever it changes. A promise that it answers is
   * waited for before the next call; what it throws, or that rejects with, ends the reading.
   */
  readonly onText?: ((text: string, event: SessionEvent) => void) | undefined
}

/** Whom a text is read from. */
export interface TextSource {
  readonly subscriptions: Subscriptions
  readonly records: TaskRecords
}

/**
 * Follows a task to its end and answers its text, without what was taken back.
 *
 * @throws GatewayError `GW_TIMEOUT` when the end does not come in time.
 */
export async function readText(source: TextSource, ref: TaskRef, options: TextOptions): Promise<string> {
  checkCallback('onText', options.onText)
  const follow = (signal: AbortSignal) => followText(source, ref, signal, options.onText)
  return withinTime(`the end of ${ref.messageId}`, options, follow)
}

async function followText(
  { subscriptions, records }: TextSource,
  { sessionId, messageId }: TaskRef,
  signal: AbortSignal,
  onText: TextOptions['onText'],
): Promise<string> {
  const fold = new Fold(EMPTY_VIEW)
  let view = EMPTY_VIEW
  let text = ''
  for (;;) {
    const after = view === EMPTY_VIEW ? undefined : view.lastId
    for await (const event of subscriptions.follow(sessionId, { messageId, after, signal })) {
      view = foldInto(view, event, fold)
      const now = taskIn(view, messageId)?.text ?? ''
      if (now === text) continue
      text = now
      const busy = begun(onText?.(text, event), signal)
      if (busy !== undefined) await busy
    }
    signal.throwIfAborted()
    // A dead letter that was redriven has a life after the end just seen, and its text is the one that counts.
    const end = await records.getEnd({ sessionId, messageId })
    if (end === null || (isEnd(end) && compareEntryIds(end.endId, view.lastId) <= 0)) return text
  }
}
