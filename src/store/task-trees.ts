import type { TaskFault } from '../protocol/event.ts'
import type { TaskRef } from '../protocol/ids.ts'
import { parseJson } from '../protocol/json.ts'
import type { RedisClient } from '../redis/client.ts'
import type { Keys } from '../redis/keys.ts'
import type { KinReader, TaskKin } from './kin.ts'
import { bySending, INFO_FIELDS, type TaskInfo, toTaskInfo } from './task-records.ts'

/** A task and those that were sent on its behalf, in the order in which they were sent. */
export interface TaskTree {
  readonly task: TaskInfo
  /** Why it failed, was cancelled or expired; null for a task that did not, or not yet. */
  readonly error: TaskFault | null
  readonly children: readonly TaskTree[]
}

const FIELDS = [...INFO_FIELDS, 'error'] as const
const RECORDS_PER_CALL = 500

type Node = TaskTree & { readonly children: Node[] }

/** Reads who was sent on whose behalf. */
export class TaskTrees {
  readonly #redis: RedisClient
  readonly #keys: Keys
  readonly #kin: KinReader

  constructor(redis: RedisClient, keys: Keys, kin: KinReader) {
    this.#redis = redis
    this.#keys = keys
    this.#kin = kin
  }

  /** The task and all under it whose records are kept, or null if its own is not. */
  async read({ sessionId, messageId }: TaskRef): Promise<TaskTree | null> {
    const wanted = descendants(await this.#kin.all(sessionId), messageId)
    const nodes = new Map<string, Node>()
    for (let from = 0; from < wanted.length; from += RECORDS_PER_CALL) {
      const part = wanted.slice(from, from + RECORDS_PER_CALL)
      for (const node of await this.#load(sessionId, part)) nodes.set(node.task.messageId, node)
    }
    // A parent stands before its children, so what hangs on a record that has just gone is left out with it.
    for (const id of wanted) {
      const node = nodes.get(id)
      if (node === undefined || id === messageId) continue
      nodes.get(node.task.parentMessageId)?.children.push(node)
    }
    for (const { children } of nodes.values()) children.sort((a, b) => bySending(a.task, b.task))
    return nodes.get(messageId) ?? null
  }

  async #load(sessionId: string, messageIds: readonly string[]): Promise<Node[]> {
    const commands = messageIds.map((id) => ['HMGET', this.#keys.task(sessionId, id), ...FIELDS] as const)
    const rows = await this.#redis.all<(string | null)[]>(commands)
    return rows.flatMap((values, index): Node[] => {
      const given = FIELDS.flatMap((name, at) => (typeof values[at] === 'string' ? [[name, values[at]] as const] : []))
      const fields = new Map<string, string>(given)
      if (!fields.has('fence')) return []
      const task = toTaskInfo({ sessionId, messageId: messageIds[index] as string }, fields)
      return [{ task, error: toFault(fields.get('error')), children: [] }]
    })
  }
}

/** The ids of a task and of all under it, each parent before its children; each once, also where parents form a circle. */
function descendants(kin: readonly TaskKin[], root: string): string[] {
  const children = new Map<string, string[]>()
  for (const { messageId, parentMessageId } of kin) {
    const siblings = children.get(parentMessageId)
    if (siblings === undefined) children.set(parentMessageId, [messageId])
    else siblings.push(messageId)
  }
  const found = new Set([root])
  for (const id of found) for (const child of children.get(id) ?? []) found.add(child)
  return [...found]
}

function toFault(text: string | undefined): TaskFault | null {
  const json = text === undefined ? undefined : parseJson(text)
  return json?.ok ? (json.value as TaskFault) : null
}
