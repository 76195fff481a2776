import type { Cluster, Redis } from 'ioredis'
import { decodeEvent } from '../src/protocol/event-decoder.ts'
import { isObject, parseJson } from '../src/protocol/json.ts'
import { Keys, type Priority } from '../src/redis/keys.ts'
import { entryField, type RawEntry } from '../src/redis/streams.ts'
import type { Marks } from './durable/program.ts'
import type { Snapshot, StoredControl, StoredEvent, StoredKey, StoredLetter, StoredTask } from './evidence.ts'
import { keysOf } from './servers.ts'

const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low']

/** Copies out of Redis all that an audit looks at. */
export async function takeSnapshot(
  redis: Redis | Cluster,
  prefix: string,
  sessionIds: Iterable<string>,
  capabilities: readonly string[],
): Promise<Snapshot> {
  const keys = new Keys(prefix)
  const sessions = new Map<string, StoredEvent[]>()
  for (const session of sessionIds) sessions.set(session, await readSession(redis, keys, session))
  const tasks = new Map<string, StoredTask>()
  const others: StoredKey[] = []
  const permanent = new Set([
    ...capabilities.flatMap((capability) => PRIORITIES.map((priority) => keys.control(capability, priority))),
    ...capabilities.flatMap((capability) => [keys.dead(capability), keys.capability(capability)]),
    keys.workers(),
  ])
  for (const key of await allKeys(redis, prefix)) {
    const ref = keys.parseTask(key)
    if (ref !== null) tasks.set(ref.messageId, await readTask(redis, key, ref.sessionId, ref.messageId))
    if (!permanent.has(key)) others.push({ key, type: await redis.type(key), ttlMs: await redis.pttl(key) })
  }
  return {
    ...{ sessions, tasks, keys: others },
    control: (await Promise.all([...permanent].map((key) => readControl(redis, key)))).flat(),
    letters: (await Promise.all(capabilities.map((each) => readLetters(redis, keys, each)))).flat(),
  }
}

/** Every key of the prefix, also where a hash tag stands before it. */
async function allKeys(redis: Redis | Cluster, prefix: string): Promise<string[]> {
  const found = new Set<string>()
  for await (const page of keysOf(redis, `*${prefix}:*`)) for (const key of page) found.add(key)
  return [...found]
}

async function readSession(redis: Redis | Cluster, keys: Keys, session: string): Promise<StoredEvent[]> {
  const entries = (await redis.xrange(keys.data(session), '-', '+')) as RawEntry[]
  return entries.map((entry) => {
    const event = decodeEvent(entry[0], entryField(entry, 'data'))
    const number = (name: string) => (typeof event.metadata[name] === 'number' ? event.metadata[name] : undefined)
    return {
      ...{ id: event.id, task: event.messageId, type: event.type, token: number('token'), n: number('n') },
      content: event.type === 'chunk' ? event.content : '',
      toId: event.type === 'rewind' ? event.toId : '',
      status: event.type === 'done' ? event.status : '',
    }
  })
}

async function readTask(redis: Redis | Cluster, key: string, session: string, task: string): Promise<StoredTask> {
  const fields = await redis.hgetall(key)
  const [state = '', epoch = '0'] = (fields['fence'] ?? '').split(':')
  const result = parseObject(fields['result'])
  const error = parseObject(fields['error'])
  return {
    ...{ task, session, state, epoch: Number(epoch), errorCode: String(error['code'] ?? '') },
    resultToken: typeof result['token'] === 'number' ? result['token'] : undefined,
    parent: fields['parent_message_id'] ?? '',
    ...(isObject(result['marks']) ? { marks: result['marks'] as Marks } : {}),
  }
}

function parseObject(text: string | undefined): Record<string, unknown> {
  const json = text === undefined ? undefined : parseJson(text)
  return json?.ok && isObject(json.value) ? json.value : {}
}

/** The groups of a control stream; nothing for a key that is none or does not exist. */
async function readControl(redis: Redis | Cluster, key: string): Promise<StoredControl[]> {
  if ((await redis.type(key)) !== 'stream') return []
  const groups = (await redis.xinfo('GROUPS', key)) as unknown[][]
  if (groups.length === 0) return []
  const pending = await Promise.all(
    groups.map(async (group) => (await redis.xpending(key, String(group[1]))) as [number, string, string, string[][]]),
  )
  return [
    {
      stream: key,
      length: await redis.xlen(key),
      pending: pending.reduce((sum, [count]) => sum + count, 0),
      owners: pending.flatMap(([, , , consumers]) => (consumers ?? []).map(([name]) => String(name))),
    },
  ]
}

async function readLetters(redis: Redis | Cluster, keys: Keys, capability: string): Promise<StoredLetter[]> {
  const entries = (await redis.xrange(keys.dead(capability), '-', '+')) as RawEntry[]
  return entries.map((entry) => {
    const text = (name: string) => entryField(entry, name) ?? ''
    return { capability, reason: text('reason'), task: text('message_id'), data: text('data') }
  })
}
