import { decodeCommand } from '../protocol/codec.ts'
import { type Keys, type LaneName, laneOfWorker, PRIORITIES, taskTail } from '../redis/keys.ts'
import type { RawEntry } from '../redis/streams.ts'

/** Workers share tasks within one consumer group; this is its name unless another one is asked for. */
export const DEFAULT_GROUP = 'agent_engines'

/** One control stream as its reader sees it. */
export interface ControlStream {
  readonly key: string
  readonly capability: string
  readonly priority: LaneName
  /** Set for a shared lane of one version: it holds only tasks that were begun by that version. */
  readonly version?: string
}

/** All lanes of some capabilities, and those of some versions: the high ones first, then the normal, then the low ones. */
export function lanesOf(
  capabilities: readonly string[],
  keys: Keys,
  versions: readonly string[] = [],
): ControlStream[] {
  return PRIORITIES.flatMap((priority) =>
    capabilities.flatMap((capability) => [
      ...versions.map((version) => ({
        capability,
        priority,
        version,
        key: keys.control(capability, priority, version),
      })),
      { capability, priority, key: keys.control(capability, priority) },
    ]),
  )
}

/** A worker's own lanes. */
export function ownLanesOf(capabilities: readonly string[], keys: Keys, workerId: string): ControlStream[] {
  const priority = laneOfWorker(workerId)
  return capabilities.map((capability) => ({ capability, priority, key: keys.control(capability, priority) }))
}

/** Where an entry lies, and under which id. */
export interface EntryRef {
  readonly stream: ControlStream
  readonly id: string
}

/** No more of an entry than that. */
export function refOf({ stream, id }: EntryRef): EntryRef {
  return { stream, id }
}

/** An entry that was taken from a control stream and is now pending for this consumer. */
export interface TakenEntry extends EntryRef {
  readonly raw: RawEntry
  /** How often it was handed to a worker, this time included; more than once if workers died with it. */
  readonly deliveries: number
  /** When it was asked for, by `performance.now()`: its lease is no older than that. */
  readonly askedAt: number
  /** It was handed out once, and its task was begun then, or may have been. */
  readonly maybeBegun?: boolean
  /** It was begun when it was handed out: what `begin` would say; see take.lua and begin-newest.lua. */
  readonly begun?: number | readonly string[] | undefined
}

/** Per stream's key the ids of those entries that lie on it. */
export function idsByStream(entries: readonly EntryRef[]): Map<string, string[]> {
  const byKey = new Map<string, string[]>()
  for (const { stream, id } of entries) {
    const ids = byKey.get(stream.key)
    if (ids === undefined) byKey.set(stream.key, [id])
    else ids.push(id)
  }
  return byKey
}

/** The task that an envelope names, as its record's key ends; '' for none. */
export function taskOf(data: string | undefined): string {
  const decoded = decodeCommand(data, Number.MAX_SAFE_INTEGER)
  const header = decoded.ok ? decoded.command.header : decoded.header
  return header === undefined ? '' : taskTail(header.sessionId, header.messageId)
}
