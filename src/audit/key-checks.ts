import { isEnded } from '../store/fence.ts'
import type { FoundKey } from '../store/key-space.ts'
import { SILENT_MS } from '../store/presence.ts'
import type { Look } from './look.ts'

/** A worker that is alive renews the time of its hash long before. */
const WORKER_TTL_MS = 60_000
const SESSION_PAGE = 100
const MOST_SESSION_TASKS = 1_000

/** Keys that would stay for ever: streams, indexes, journals and worker hashes without a time to live. */
export async function checkLasting(look: Look, found: readonly FoundKey[]): Promise<void> {
  const bounded = found.filter(({ family }) => ['data', 'session', 'worker', 'journal', 'blobs'].includes(family))
  for (const key of await look.tools.space.lasting(bounded)) await checkKey(look, key)
}

/** Worker ids on lists whose worker is gone, and not only just: for an hour one that was killed may come back. */
export async function checkLists(look: Look, capabilities: Iterable<string>): Promise<void> {
  const { fleet } = look.tools
  for (const capability of [undefined, ...capabilities]) {
    for (const listed of await fleet.gone(capability)) {
      const { workerId, seenAt } = listed
      if (look.now - Number(seenAt) < SILENT_MS) continue
      const evidence = [capability, workerId, seenAt]
      look.suspect({ kind: 'listed-worker', workerId, capability: capability ?? null }, evidence, () =>
        fleet.unlist(listed, capability),
      )
    }
  }
}

/** How much lies in the dead letters. */
export async function checkDeadLetters(look: Look, key: string, capability: string): Promise<void> {
  const count = await look.tools.space.length(key)
  if (count > 0) look.suspect({ kind: 'dead-letters', capability, count }, [key])
}

async function checkKey(look: Look, found: FoundKey): Promise<void> {
  const { streamTtlMs } = look.abandonment.retention
  const { space } = look.tools
  switch (found.family) {
    case 'data':
      // A suspended task keeps what was said before.
      if (await hasOpenTask(look, found.sessionId, MOST_SESSION_TASKS)) return
      return suspectLasting(look, found.key, 'events', () => space.expireEvents(found.sessionId, streamTtlMs))
    case 'worker':
      // Who is alive gives it its time with each heartbeat, whatever it has.
      return suspectLasting(look, found.key, 'worker', () => space.expireUnset(found.key, WORKER_TTL_MS))
    case 'session':
      return checkIndex(look, found)
    case 'journal':
    case 'blobs':
      return checkJournal(look, found)
    default:
      return
  }
}

/** An index gets its time with the last end in it. */
async function checkIndex(look: Look, found: FoundKey & { family: 'data' | 'session' }): Promise<void> {
  const { space } = look.tools
  const { key, sessionId } = found
  if (await hasOpenTask(look, sessionId)) return
  // What has ended since the walk has given it one.
  if ((await space.lasting([found])).length === 0) return
  const newest = await space.messageIds(sessionId, 0, 1)
  look.suspect({ kind: 'key-without-ttl', key, holds: 'session' }, [key, ...newest], () =>
    space.expireIndex(sessionId, look.abandonment.retention.resultTtlMs),
  )
}

async function hasOpenTask({ tools }: Look, sessionId: string, most = Number.POSITIVE_INFINITY): Promise<boolean> {
  for (let from = 0; from < most; from += SESSION_PAGE) {
    const ids = await tools.space.messageIds(sessionId, from, SESSION_PAGE)
    const places = ids.map((messageId) => {
      return { family: 'task' as const, key: tools.keys.task(sessionId, messageId), sessionId, messageId }
    })
    const tasks = await tools.facts.read(await tools.space.lasting(places))
    if (tasks.some((task) => task !== null && !isEnded(task.fence.text))) return true
    if (ids.length < SESSION_PAGE) return false
  }
  return false
}

async function checkJournal(
  look: Look,
  { key, sessionId, messageId }: FoundKey & { family: 'task' | 'journal' | 'blobs' },
) {
  const { space, facts } = look.tools
  const ref = { sessionId, messageId }
  const { resultTtlMs } = look.abandonment.retention
  const [task = null] = await facts.read([ref])
  if (task === null) {
    look.suspect({ kind: 'orphaned-journal', key }, [key], () => space.removeOrphan(ref, key))
  } else if (isEnded(task.fence.text)) {
    suspectLasting(look, key, 'journal', () => space.expireEnded(ref, task.fence.text, key, resultTtlMs))
  }
}

function suspectLasting(
  look: Look,
  key: string,
  holds: 'journal' | 'events' | 'worker',
  repair: () => Promise<boolean>,
): void {
  look.suspect({ kind: 'key-without-ttl', key, holds }, [key], repair)
}
