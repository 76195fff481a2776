import type { Cluster, Redis } from 'ioredis'
import { listenersOf } from './listeners.ts'
import { hasMoved, type Look, lookInto, socketOf, waitsFor } from './look.ts'
import { probe } from './probe.ts'

/**
 * A connection on which commands wait and nothing moves for this long is taken for dead, whatever its server does.
 * Blocking reads must be answered sooner.
 */
export const SILENCE_MS = 2_000

/** After this the server is asked by another connection: if that one is answered, this one is dead. */
const SUSPECT_MS = 750
/** So long after that answer this connection's own must have come, too. */
const CONFIRM_MS = 150

/** The same for the first attempt to make a connection anew: the next one may already find another master. */
const HANDSHAKE_MS = SILENCE_MS / 2
/** With more than this on its way a connection may be slow, not dead: the server is not asked. */
const UPLOAD_BYTES = 131_072
const LOOK_EVERY_MS = 250
const TALK_EVERY_MS = 600
/** How often one who listens on a Cluster looks which servers have the slots. */
const MAP_EVERY_MS = 2_000
/** A connection that dies of silence again and again gets up to 2^3 times as long. */
const MOST_STRIKES = 3
/** A connection that was given up, and on which nothing was waited for at so many looks, is taken for alive. */
const IDLE_LOOKS = 4

/** Hears of what is given up, and of what is alive again after that. */
export interface SilenceListener {
  silent(): void
  /** The server has answered something, or there was nothing to answer for a while. */
  heard(): void
}

interface State {
  readonly listener: SilenceListener | undefined
  last: Look | undefined
  silent: number
  strikes: number
  /** Attempts to connect that died of silence since the connection was last ready. */
  handshakes: number
  /** What it had sent by the last look. */
  sent: number
  /** What it had sent before the silence, at least. */
  answered: number
  /** Ends the question by another connection, while there is one. */
  endProbe: (() => void) | undefined
  /** While it is given up: what was seen of the connection that was made in its place. */
  trial: Trial | undefined
}

interface Trial {
  socket: ReturnType<typeof socketOf>
  looks: number
  idleLooks: number
  /** What had been read when it was made, its greeting. */
  read: number
}

/**
 * Finds half-open connections: those that look open and carry nothing any more, because a machine, a firewall or an
 * address went away without a word. A command that nobody answers would wait there for ever.
 *
 * Silent means: commands wait for an answer, and between two looks no byte came in and none that was held back for the
 * network went out. So a large upload is no silence. Looks are counted, not time: an event loop that was blocked takes
 * one look, not many, and reads what has arrived meanwhile before the next.
 *
 * A slow server is not a dead connection. Early in a silence the server is asked by a connection made for that: if it
 * answers there and still not here, this connection is dead, and no more time is lost. If it answers nobody, it may be
 * busy, and has until the limit. One that thinks for longer than that about one command loses the connection, and the
 * command is sent again; so that a long command is not killed for ever, the limit doubles each time until an answer
 * comes. No call of this library comes near it: the largest takes some tens of milliseconds. A command that is meant to
 * wait on the server may do so.
 *
 * A connection that is made anew says nothing of the server, which may greet and hold back all else; so the listener is
 * told when the server has answered.
 *
 * @param listener - For one connection; those of a Cluster are told by nobody.
 * @returns Ends the watch.
 */
export function watchSilence(redis: Redis | Cluster, listener: SilenceListener): () => void {
  const states = new Map<Redis, State>()
  const isCluster = 'nodes' in redis
  const timer = setInterval(() => {
    // A Cluster's connections come and go.
    const connections = isCluster ? [...redis.nodes('all'), ...listenersOf(redis)] : [redis]
    for (const connection of connections) {
      let state = states.get(connection)
      if (state === undefined) {
        state = stateOf(isCluster ? undefined : listener)
        states.set(connection, state)
      }
      look(connection, state)
      if (state.trial !== undefined) listen(connection, state, state.trial)
    }
    if (states.size > connections.length) forget(states, connections)
  }, LOOK_EVERY_MS)
  timer.unref()
  return () => {
    clearInterval(timer)
    forget(states, [])
  }
}

function stateOf(listener: SilenceListener | undefined): State {
  const nothing = { last: undefined, endProbe: undefined, trial: undefined }
  return { listener, ...nothing, silent: 0, strikes: 0, handshakes: 0, sent: 0, answered: 0 }
}

/** Takes a look at what was made in the place of a connection that was given up. */
function listen(connection: Redis, state: State, trial: Trial): void {
  const socket = socketOf(connection)
  const isNew = trial.socket !== socket || connection.status !== 'ready'
  trial.looks = isNew ? 1 : trial.looks + 1
  trial.idleLooks = isNew || lookInto(connection) !== undefined ? 0 : trial.idleLooks + 1
  trial.socket = socket
  const read = socket?.bytesRead ?? 0
  // At the first look the greeting may not be over.
  if (trial.looks <= 2) trial.read = read
  if (read === trial.read && trial.idleLooks < IDLE_LOOKS) return
  state.trial = undefined
  state.listener?.heard()
}

/** Ends what is known of connections that are gone. */
function forget(states: Map<Redis, State>, present: readonly Redis[]): void {
  for (const [connection, { endProbe }] of states) {
    if (present.includes(connection)) continue
    endProbe?.()
    states.delete(connection)
  }
}

/**
 * Makes a pub/sub connection say something now and then, so that its silence can be told from its death. On a Cluster it
 * is several, and ioredis looks for others only when one closes or its server says that a slot has gone: a server that
 * falls silent does neither, and its replica, which has taken over, would be listened to by nobody.
 *
 * @returns Ends the talk.
 */
export function keepTalking(redis: Redis | Cluster): () => void {
  const talk = setInterval(() => {
    for (const connection of 'nodes' in redis ? listenersOf(redis) : [redis]) {
      // An answer that does not come is the watchdog's affair.
      if (connection.status === 'ready') void connection.ping().catch(() => undefined)
    }
  }, TALK_EVERY_MS).unref()
  const map = setInterval(() => {
    if ('nodes' in redis && redis.status === 'ready') redis.refreshSlotsCache()
  }, MAP_EVERY_MS).unref()
  return () => {
    clearInterval(talk)
    clearInterval(map)
  }
}

function look(connection: Redis, state: State): void {
  const now = lookInto(connection)
  const { last, sent } = state
  state.last = now
  state.sent = socketOf(connection)?.bytesWritten ?? 0
  if (now?.ready) state.handshakes = 0
  if (now === undefined || last === undefined || hasMoved(last, now)) {
    state.silent = 0
    // What was on its way when the last answer came may belong to it.
    if (now === undefined) state.answered = state.sent
    else if (last?.read !== now.read) state.answered = Math.min(sent, state.sent)
    state.endProbe?.()
    if (last?.ready && now?.ready && last.oldest !== now.oldest) state.strikes = 0
    return
  }
  state.silent += 1
  const silentMs = state.silent * LOOK_EVERY_MS
  if (!now.ready) {
    if (silentMs >= (state.handshakes === 0 ? HANDSHAKE_MS : SILENCE_MS)) drop(connection, state, '')
    return
  }
  const suspectMs = SUSPECT_MS * 2 ** state.strikes
  if (silentMs < suspectMs) return
  const meantMs = waitsFor(now.oldest)
  if (silentMs >= Math.max(SILENCE_MS * 2 ** state.strikes, meantMs + suspectMs)) drop(connection, state, '')
  else if (silentMs >= meantMs + LOOK_EVERY_MS && state.sent - state.answered <= UPLOAD_BYTES)
    ask(connection, state, now)
}

/** Asks the server by another connection, and drops this one if only the other is answered. */
function ask(connection: Redis, state: State, suspected: Look): void {
  if (state.endProbe !== undefined) return
  let confirming: NodeJS.Timeout | undefined
  const confirm = () => {
    // What has arrived by now was read before this: an immediate comes after the sockets.
    setImmediate(() => {
      const now = lookInto(connection)
      const isSame = state.endProbe === end && now !== undefined && !hasMoved(suspected, now)
      end()
      if (isSame) drop(connection, state, ', and the server answers others')
    })
  }
  const endProbe = probe(
    connection,
    () => {
      confirming = setTimeout(confirm, CONFIRM_MS)
      confirming.unref()
    },
    () => {
      // Without an answer it may be asked again.
      if (confirming === undefined) end()
    },
  )
  const end = () => {
    if (state.endProbe !== end) return
    state.endProbe = undefined
    clearTimeout(confirming)
    endProbe()
  }
  state.endProbe = end
}

function drop(connection: Redis, state: State, also: string): void {
  const silentMs = state.silent * LOOK_EVERY_MS
  if (state.last?.ready) state.strikes = Math.min(state.strikes + 1, MOST_STRIKES)
  else state.handshakes += 1
  state.silent = 0
  state.endProbe?.()
  state.trial = { socket: undefined, looks: 0, idleLooks: 0, read: 0 }
  state.listener?.silent()
  socketOf(connection)?.destroy(new Error(`no answer for ${silentMs} ms${also}`))
}
