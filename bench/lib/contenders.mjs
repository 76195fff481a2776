/**
 * A contender is one module of ../contenders with this face. Queue names come from the scenario; `variant` is one of the
 * contender's own ways to be used (`variants`), each of which gets a row of its own.
 *
 * - `id`, `title`, `version()`, `promises` (one sentence: what a finished task means here)
 * - `scenarios`: those it can take part in; all when missing. `server`: the kind of its server, `redis` when missing
 * - `variants`: { scenario: [{ id, title, … }] }, one nameless variant when missing; `full: true` leaves it out of `--quick`
 * - `openProducer({ port, queue, variant })` → `{ send(index, payload), sendMany(from, to, payloadOf), ids?, close() }`
 * - `startWorker({ port, name, queues, concurrency, variant, chunk, onStart(index), onEnd(index) })` → `{ stop() }`; `name` is its own;
 *   `chunk: true` makes each task say one chunk before it ends; `onEnd` only where the contender tells of acknowledged ends
 * - `startWorker` with `speech: { count, window }` instead of `chunk`: each task says so many chunks by `speak` of `chunks.mjs`
 * - `openReaders({ port, queue, sessions, variant, onChunk(session, text), onDone(session) })` → `{ send(session, payload), close() }`: one
 *   reader per session, which hears what the task of that session says
 * - `openAsker({ port, queues, variant })` → `{ ask(queueIndex, payload) → { chunkMs, done }, close() }`
 * - `remaining(client, queue)` → tasks waiting or running, by one cheap look at the server
 * - `countEnds(client, { queue, from, tasks, variant, report, ids })` → `{ ended, repeated }` of the tasks beginning with `from`, before which all had
 *   their end: from what the server or the worker can prove
 */
const CORE = ['byclaw', 'bullmq', 'bare-streams']
const IDS = [...CORE, 'groupmq', 'bee-queue', 'pg-boss']

/** All others are compared with this one. */
export const BASELINE = 'bullmq'

export const contenderById = async (id) => {
  if (!IDS.includes(id)) throw new Error(`no contender ${id}; there are ${IDS.join(', ')}`)
  return (await import(`../contenders/${id}.mjs`)).contender
}

/** Those that were asked for; else all, or in a quick run those that its limits compare. */
export const loadContenders = (ids, { quick = false } = {}) =>
  Promise.all((ids ?? (quick ? CORE : IDS)).map(contenderById))
