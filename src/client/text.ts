import { GatewayError } from '../errors.ts'
import type { SessionEvent } from '../protocol/event.ts'
import type { TaskRef } from '../protocol/ids.ts'
import { compareEntryIds } from '../redis/streams.ts'
import type { TaskEnd, TaskInfo } from '../store/task-records.ts'
import { EMPTY_VIEW, foldInto, taskIn } from './fold.ts'
import { isEnd } from './task-result.ts'
import { timeLimit } from './time-limit.ts'

/** How to read a task's text. */
export interface TextOptions {
  /** Gives up, rejecting with the signal's reason; the task goes on. */
  readonly signal?: AbortSignal
  /** How long to wait for the end, in ms. Default for ever. */
  readonly timeoutMs?: number
  /** Called with the whole text as it stands, and the event that made it so, whenever it changes. */
  readonly onText?: (text: string, event: SessionEvent) => void
}

/** What reading a text needs of a client. */
export interface TextSource {
  subscribe(
    sessionId: string,
    options: { messageId: string; after: string | undefined; signal: AbortSignal },
  ): AsyncIterable<SessionEvent>
  getEnd(ref: TaskRef): Promise<TaskEnd | TaskInfo | null>
}

/**
 * Follows a task to its end and answers its text, without what was taken back.
 *
 * @throws GatewayError `GW_TIMEOUT` when the end does not come in time.
 */
export async function readText(source: TextSource, ref: TaskRef, options: TextOptions): Promise<string> {
  const { timeoutMs, signal, onText } = options
  const limit = timeLimit(timeoutMs, signal)
  try {
    return await followText(source, ref, limit.signal, onText)
  } catch (error) {
    if (!limit.timedOut()) throw error
    throw new GatewayError('GW_TIMEOUT', { what: `the end of ${ref.messageId}`, timeoutMs }, { cause: error })
  } finally {
    limit.clear()
  }
}

async function followText(
  source: TextSource,
  { sessionId, messageId }: TaskRef,
  signal: AbortSignal,
  onText: TextOptions['onText'],
): Promise<string> {
  const own = new WeakSet<object>()
  let view = EMPTY_VIEW
  let text = ''
  for (;;) {
    const after = view === EMPTY_VIEW ? undefined : view.lastId
    for await (const event of source.subscribe(sessionId, { messageId, after, signal })) {
      view = foldInto(view, event, own)
      const now = taskIn(view, messageId)?.text ?? ''
      if (now === text) continue
      text = now
      onText?.(text, event)
    }
    signal.throwIfAborted()
    // A dead letter that was redriven has a life after the end just seen, and its text is the one that counts.
    const end = await source.getEnd({ sessionId, messageId })
    if (end === null || (isEnd(end) && compareEntryIds(end.endId, view.lastId) <= 0)) return text
  }
}
