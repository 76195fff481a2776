/**
 * What a promise comes to, or undefined as soon as `signal` aborts: for a wait that is left behind. Unlike a race
 * against one long-lived promise, it leaves nothing behind at the signal when it is over.
 */
export function untilAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value | undefined> {
  return new Promise((resolve, reject) => {
    const leave = () => resolve(undefined)
    if (signal.aborted) leave()
    signal.addEventListener('abort', leave, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
  })
}
