import type { Redis } from 'ioredis'

/** A probe that has no answer for so long is given up. */
const PROBE_MS = 750

/**
 * Asks a server by a connection of its own whether it answers anybody now. Behind Sentinel it is the server that is the
 * master now.
 *
 * @param connection - Whose server is meant.
 * @param onAnswer - Called at most once, with any answer: a refusal is one, too.
 * @param onEnd - Called once when the probe is over.
 * @returns Ends the probe.
 */
export function probe(connection: Redis, onAnswer: () => void, onEnd: () => void): () => void {
  const own = connection.duplicate({
    lazyConnect: true,
    enableReadyCheck: false,
    connectTimeout: PROBE_MS,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    sentinelRetryStrategy: () => null,
    reconnectOnError: null,
    disconnectTimeout: 100,
  })
  let isOver = false
  const end = () => {
    if (isOver) return
    isOver = true
    clearTimeout(timer)
    own.disconnect()
    onEnd()
  }
  const timer = setTimeout(end, PROBE_MS)
  timer.unref()
  // That it cannot connect is no answer; the connection itself tells what is wrong.
  own.on('error', () => undefined)
  // A script, because it has to wait where the scripts of this library have to: behind CLIENT PAUSE, for instance.
  own.call('EVAL', 'return 1', '0').then(
    () => answered(),
    (error: Error) => (error.name === 'ReplyError' ? answered() : end()),
  )
  const answered = () => {
    if (!isOver) onAnswer()
    end()
  }
  return end
}
