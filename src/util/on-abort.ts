import { getMaxListeners, setMaxListeners } from 'node:events'

/**
 * Calls `listener` once when a caller's signal aborts, until what this answers is called; that must be called in the end,
 * and once. Many may wait at one signal at a time, so they do not count where Node warns of too many listeners.
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  makeRoom(signal, 1)
  signal.addEventListener('abort', listener, { once: true })
  return () => {
    signal.removeEventListener('abort', listener)
    makeRoom(signal, -1)
  }
}

function makeRoom(signal: AbortSignal, more: 1 | -1): void {
  const most = limitOf(signal)
  if (most > 0) setMaxListeners(most + more, signal)
}

/** 0 is no limit. */
function limitOf(signal: AbortSignal): number {
  try {
    return getMaxListeners(signal)
  } catch {
    // Node 20 throws where there is none; a signal of another realm, or of a library, has none that it knows.
    return 0
  }
}
