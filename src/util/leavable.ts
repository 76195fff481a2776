/**
 * The same promise, whose rejection does not end the process where nobody awaits it, or not yet: who begins several things
 * and awaits them one after the other is not at the second when that fails, or when all of them are broken off.
 */
export function leavable<Value>(promise: Promise<Value>): Promise<Value> {
  promise.catch(ignore)
  return promise
}

function ignore(): void {
  // Whoever does not await it does not want to know.
}
