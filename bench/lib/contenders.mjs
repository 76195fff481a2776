/**
 * A contender is one module of ../contenders with this face. Queue names come from the scenario; `variant` is one of the
 * contender's own ways to be used (`variants`), each of which gets a row of its own.
 *
 * - `id`, `title`, `version()`, `promises` (one sentence: what a finished task means here)
 * - `variants`: { scenario: [{ id, title, … }] }, one nameless variant when missing; `full: true` leaves it out of `--quick`
 * - `openProducer({ port, queue, variant })` → `{ send(index, payload), sendMany(from, to, payloadOf), ids?, close() }`
 * - `startWorker({ port, queues, concurrency, variant, chunk, onStart(index), onEnd(index) })` → `{ stop() }`;
 *   `chunk: true` makes each task say one chunk before it ends; `onEnd` only where the contender tells of acknowledged ends
 * - `openAsker({ port, queues, variant })` → `{ ask(queueIndex, payload) → { chunkMs, done }, close() }`
 * - `remaining(redis, queue)` → tasks waiting or running, by one cheap look at Redis
 * - `countEnds(redis, { queue, tasks, variant, report, ids })` → `{ ended, repeated }`, from what Redis or the worker can prove
 */
const IDS = ['byclaw', 'bullmq', 'bare-streams']

/** All others are compared with this one. */
export const BASELINE = 'bullmq'

/** What Redis Streams allow when nothing is promised. */
export const FLOOR = 'bare-streams'

export const contenderById = async (id) => {
  if (!IDS.includes(id)) throw new Error(`no contender ${id}; there are ${IDS.join(', ')}`)
  return (await import(`../contenders/${id}.mjs`)).contender
}

export const loadContenders = (ids = IDS) => Promise.all(ids.map(contenderById))
