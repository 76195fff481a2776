import { Worker } from 'node:worker_threads'

/**
 * A timer that is exact to a tenth of a millisecond: those of Node are up to one late. It waits in a thread, since whoever waits turn by turn
 * for the last bit takes a core from those that are measured.
 *
 * Answers a function that sets the time, by `nowMs` of clock.mjs, at which `onDue` is called; to be called again only after that.
 */
export const startAlarm = (onDue) => {
  const shared = new SharedArrayBuffer(16)
  const isSet = new Int32Array(shared, 0, 1)
  const due = new Float64Array(shared, 8, 1)
  const thread = new Worker(new URL('alarm-thread.mjs', import.meta.url), { workerData: shared })
  thread.on('message', onDue)
  thread.unref()
  return (dueMs) => {
    due[0] = dueMs
    Atomics.store(isSet, 0, 1)
    Atomics.notify(isSet, 0)
  }
}
