import type { Redis } from 'ioredis'

/** What is looked at inside of a connection of ioredis. */
interface Watched {
  readonly status: string
  readonly stream?: {
    readonly destroyed: boolean
    readonly bytesRead: number
    readonly bytesWritten: number
    /** Node's inside of a socket: what was given to the system, and what of it still waits in front of the network. */
    readonly _handle?: { readonly bytesWritten?: number; readonly writeQueueSize?: number } | null
    destroy(error: Error): void
  }
  readonly commandQueue?: { readonly length: number; peekFront(): Waiting | undefined }
}

/** A command that was sent and not answered yet. */
interface Waiting {
  readonly command: { readonly name: string; readonly args: readonly unknown[] }
}

/** What a connection looks like at one moment while commands wait on it. */
export interface Look {
  readonly oldest: Waiting | undefined
  readonly read: number
  readonly written: number
  readonly waiting: number
  readonly ready: boolean
}

function inside(connection: Redis): Watched {
  return connection as unknown as Watched
}

/** Its socket: who destroys it has the connection made anew. */
export function socketOf(connection: Redis): Watched['stream'] {
  return inside(connection).stream
}

/** Nothing if nothing is waited for. */
export function lookInto(connection: Redis): Look | undefined {
  const { stream, commandQueue, status } = inside(connection)
  if (stream === undefined || stream.destroyed || commandQueue === undefined || commandQueue.length === 0) return
  const waiting = stream._handle?.writeQueueSize ?? 0
  return {
    oldest: commandQueue.peekFront(),
    read: stream.bytesRead,
    written: (stream._handle?.bytesWritten ?? 0) - waiting,
    waiting,
    ready: status === 'ready',
  }
}

/** For how long the server is asked to wait before it answers, in ms. */
export function waitsFor(oldest: Waiting | undefined): number {
  if (oldest === undefined) return 0
  const { name, args } = oldest.command
  const command = name.toLowerCase()
  const limit = command === 'wait' || command === 'waitaof' ? args.at(-1) : blockOf(command, args)
  const ms = limit === undefined ? Number.NaN : Number(limit)
  if (Number.isNaN(ms)) return 0
  return ms === 0 ? Number.POSITIVE_INFINITY : ms
}

function blockOf(command: string, args: readonly unknown[]): unknown {
  if (command !== 'xread' && command !== 'xreadgroup') return undefined
  const at = args.findIndex((arg) => String(arg).toUpperCase() === 'BLOCK')
  return at === -1 ? undefined : args[at + 1]
}

/** True if something went in or out in between. */
export function hasMoved(last: Look, now: Look): boolean {
  if (last.oldest !== now.oldest || last.read !== now.read) return true
  // What a new command adds goes to the system at once and says nothing of the network.
  return last.waiting > 0 && last.written !== now.written
}
