import type { SessionEvent } from '../../protocol/event.ts'
import type { TaskRef } from '../../protocol/ids.ts'
import { compareEntryIds } from '../../redis/streams.ts'
import { type DataReader, nextLength } from '../../store/data-reader.ts'
import type { Said } from '../hold-back.ts'

/** Events of a page: of the first one, and at most. */
const FIRST_PAGE = 16
const PAGE = 500
const OWN: readonly string[] = ['chunk', 'state', 'data', 'artifact', 'ask_user']

/**
 * What a task has said after the entry `after` of its session's stream, up to `until` (default: the end), as it stands:
 * what was taken back is left out.
 */
export async function readSaid(reader: DataReader, ref: TaskRef, after: string, until?: string): Promise<Said[]> {
  let said: { readonly id: string; readonly said: Said }[] = []
  let length = FIRST_PAGE
  for (let from = after; ; ) {
    const page = await reader.page(ref.sessionId, from, length, until)
    const { events } = page
    for (const event of events) {
      if (event.messageId !== ref.messageId) continue
      if (event.type === 'rewind') {
        const { toId } = event
        said = said.filter(({ id }) => compareEntryIds(id, toId) <= 0)
      } else if (OWN.includes(event.type)) {
        said.push({ id: event.id, said: toSaid(event) })
      }
    }
    if (events.length < length) return said.map((item) => item.said)
    from = (events.at(-1) as SessionEvent).id
    length = nextLength(page, PAGE)
  }
}

function toSaid(event: SessionEvent): Said {
  const { id: _, sessionId: _s, messageId: _m, parentMessageId: _p, agentType: _a, traceId: _t, ...rest } = event
  const { attempt: _n, timestamp: _at, metadata, ...body } = rest
  const { attempt: _old, step, ...own } = metadata
  return {
    body: body as Said['body'],
    metadata: Object.keys(own).length === 0 ? undefined : own,
    step: typeof step === 'string' ? step : undefined,
  }
}
