import type { TaskRef } from '../protocol/ids.ts'
import { isLaneName, type LaneName } from '../redis/keys.ts'

/** Puts a task on its control stream when it is due. */
export interface ReadyItem extends TaskRef {
  readonly kind: 'ready'
  readonly turn: string
  /** '' where the envelope is gone: the task was cancelled, by one who died before he had seen to its record. */
  readonly capability: string
  readonly priority: LaneName
  /** The envelope. */
  readonly data: string
}

/** Ends a task that has not started when it is due. */
export interface ExpiryItem extends TaskRef {
  readonly kind: 'expiry'
  /** Where its entry lies; undefined where an older release has noted it. */
  readonly priority?: LaneName | undefined
}

/** Gives an operation of a task a result when it is due. */
export interface AnswerItem extends TaskRef {
  readonly kind: 'answer'
  readonly op: string
  /** JSON. */
  readonly result: string
}

export type AgendaItem = ReadyItem | ExpiryItem | AnswerItem

/** An item, and in how many ms it is to be done. */
export interface Appointment {
  readonly item: AgendaItem
  readonly delayMs: number
}

/** What tells an item from all others. */
export type ItemName =
  | Pick<ReadyItem, 'kind' | 'turn' | keyof TaskRef>
  | Pick<ExpiryItem, 'kind' | keyof TaskRef>
  | Pick<AnswerItem, 'kind' | 'op' | keyof TaskRef>

/** False where the envelope is gone; see {@link ReadyItem}. */
export function hasEnvelope({ capability }: ReadyItem): boolean {
  return capability !== ''
}

/** The name of an item on its shard. Ids hold no spaces; names of operations may. */
export function memberOf(item: ItemName): string {
  const { kind, sessionId, messageId } = item
  const which = item.kind === 'ready' ? item.turn : item.kind === 'answer' ? encodeURIComponent(item.op) : '0'
  return `${kind} ${which} ${sessionId} ${messageId}`
}

/** How the script `note` is told of an appointment. */
export function noteOf({ item, delayMs }: Appointment): [member: string, delay: number, payload: string] {
  return [memberOf(item), Math.ceil(delayMs), payloadOf(item)]
}

function payloadOf(item: AgendaItem): string {
  if (item.kind === 'answer') return item.result
  if (item.kind === 'expiry') return item.priority ?? ''
  return `${item.capability} ${item.priority} ${item.data}`
}

/** An item as a shard holds it. */
export function toItem(member: string, payload: string): AgendaItem {
  const [kind, turn = '', sessionId = '', messageId = ''] = member.split(' ')
  if (kind === 'answer') return { kind, sessionId, messageId, op: decodeURIComponent(turn), result: payload }
  if (kind !== 'ready')
    return { kind: 'expiry', sessionId, messageId, priority: isLaneName(payload) ? payload : undefined }
  const [capability = '', priority = ''] = payload.split(' ', 2)
  const data = payload.slice(capability.length + priority.length + 2)
  return { kind, turn, sessionId, messageId, capability, priority: priority as LaneName, data }
}
