import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Bytes of this process' heap that a collection does not free. */
export function heapUsed(): number {
  setFlagsFromString('--expose-gc')
  const collectGarbage: () => void = runInNewContext('gc')
  // What a first pass makes unreachable, a second one frees.
  collectGarbage()
  collectGarbage()
  return process.memoryUsage().heapUsed
}
