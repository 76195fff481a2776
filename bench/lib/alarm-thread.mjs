// The thread of alarm.mjs.
import { parentPort, workerData } from 'node:worker_threads'
import { nowMs } from './clock.mjs'

const isSet = new Int32Array(workerData, 0, 1)
const due = new Float64Array(workerData, 8, 1)
/** Nobody notifies of it. */
const never = new Int32Array(new SharedArrayBuffer(4))

for (;;) {
  Atomics.wait(isSet, 0, 0)
  Atomics.store(isSet, 0, 0)
  for (let left = due[0] - nowMs(); left > 0; left = due[0] - nowMs()) Atomics.wait(never, 0, 0, left)
  parentPort.postMessage('due')
}
