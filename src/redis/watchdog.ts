import type { Cluster, Redis } from 'ioredis'

/**
 * A connection on which commands wait and nothing moves for this long is taken for dead. Blocking reads must be
 * answered sooner.
 */
export const SILENCE_MS = 2_000

/** The same for the first attempt to make a connection anew: the next one may already find another master. */
const HANDSHAKE_MS = SILENCE_MS / 2
const LOOK_EVERY_MS = 250
const TALK_EVERY_MS = 1_000
/** A connection that dies of silence again and again gets up to 2^3 times as long. */
const MOST_STRIKES = 3

/** What is looked at inside of a connection of ioredis. */
interface Watched {
  readonly status: string
  readonly stream?: {
    readonly destroyed: boolean
    readonly bytesRead: number
    /** Node's inside of a socket: what was given to the system, and what of it still waits in front of the network. */
    readonly _handle?: { readonly bytesWritten?: number; readonly writeQueueSize?: number } | null
    destroy(error: Error): void
  }
  readonly commandQueue?: { readonly length: number; peekFront(): unknown }
}

interface Look {
  readonly oldest: unknown
  readonly read: number
  readonly written: number
  readonly waiting: number
  readonly ready: boolean
}

interface State {
  last: Look | undefined
  silent: number
  strikes: number
  /** Attempts to connect that died of silence since the connection was last ready. */
  handshakes: number
}

/**
 * Finds half-open connections: those that look open and carry nothing any more, because a machine, a firewall or an
 * address went away without a word. A command that nobody answers would wait there for ever.
 *
 * Silent means: commands wait for an answer, and between two looks no byte came in and none that was held back for the
 * network went out. So a large upload is no silence. Looks are counted, not time: an event loop that was blocked takes
 * one look, not many, and reads what has arrived meanwhile before the next.
 *
 * A server that thinks for longer than the limit about one command loses that connection too, and the command is sent
 * again; so that a long command is not killed for ever, the limit doubles each time until an answer comes. No call of
 * this library comes near it: the largest takes some tens of milliseconds.
 *
 * @returns Ends the watch.
 */
export function watchSilence(redis: Redis | Cluster): () => void {
  const states = new WeakMap<object, State>()
  const timer = setInterval(() => {
    // A Cluster's connections come and go.
    const connections = 'nodes' in redis ? redis.nodes('all') : [redis]
    for (const connection of connections) {
      let state = states.get(connection)
      if (state === undefined) {
        state = { last: undefined, silent: 0, strikes: 0, handshakes: 0 }
        states.set(connection, state)
      }
      look(connection as unknown as Watched, state)
    }
  }, LOOK_EVERY_MS)
  timer.unref()
  return () => clearInterval(timer)
}

/**
 * Makes a pub/sub connection say something now and then, so that its silence can be told from its death. (On a Cluster
 * ioredis hides these connections.)
 *
 * @returns Ends the talk.
 */
export function keepTalking(redis: Redis | Cluster): () => void {
  if ('nodes' in redis) return () => undefined
  const timer = setInterval(() => {
    // An answer that does not come is the watchdog's affair.
    if (redis.status === 'ready') redis.ping().catch(() => undefined)
  }, TALK_EVERY_MS)
  timer.unref()
  return () => clearInterval(timer)
}

function look(connection: Watched, state: State): void {
  const { stream, commandQueue } = connection
  if (stream === undefined || stream.destroyed || commandQueue === undefined || commandQueue.length === 0) {
    state.last = undefined
    state.silent = 0
    return
  }
  const waiting = stream._handle?.writeQueueSize ?? 0
  const now: Look = {
    oldest: commandQueue.peekFront(),
    read: stream.bytesRead,
    written: (stream._handle?.bytesWritten ?? 0) - waiting,
    waiting,
    ready: connection.status === 'ready',
  }
  const { last } = state
  state.last = now
  if (now.ready) state.handshakes = 0
  if (last === undefined || hasMoved(last, now)) {
    state.silent = 0
    if (last?.ready && now.ready && last.oldest !== now.oldest) state.strikes = 0
    return
  }
  state.silent += 1
  const limitMs = now.ready ? SILENCE_MS * 2 ** state.strikes : state.handshakes === 0 ? HANDSHAKE_MS : SILENCE_MS
  if (state.silent * LOOK_EVERY_MS < limitMs) return
  state.silent = 0
  if (now.ready) state.strikes = Math.min(state.strikes + 1, MOST_STRIKES)
  else state.handshakes += 1
  stream.destroy(new Error(`no answer for ${limitMs} ms`))
}

function hasMoved(last: Look, now: Look): boolean {
  if (last.oldest !== now.oldest || last.read !== now.read) return true
  // What a new command adds goes to the system at once and says nothing of the network.
  return last.waiting > 0 && last.written !== now.written
}
