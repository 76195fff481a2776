import { parentPort } from 'node:worker_threads'
import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { RedisConnections } from '../redis/connections.ts'
import { type LeaseLoopData, runLeaseLoop } from './lease-loop.ts'

/** What the main thread asks for. */
export type LeaseOrder =
  /** Say `here`. */
  | { readonly kind: 'join'; readonly loop: number }
  | { readonly kind: 'run'; readonly loop: number; readonly data: LeaseLoopData }
  | { readonly kind: 'stop'; readonly loop: number }

/** What the thread tells the main thread of a loop. */
export type LeaseMessage = { readonly loop: number } & LeaseNews

type LeaseNews =
  /** The thread can run it. */
  | { readonly kind: 'here' }
  /** It runs: tasks can be taken. */
  | { readonly kind: 'ready' }
  | {
      readonly kind: 'log'
      readonly level: 'info' | 'warn' | 'error'
      readonly fields: object
      readonly message: string
    }
  /** Leases are gone of what still runs. */
  | { readonly kind: 'lost' }
  | { readonly kind: 'failed'; readonly code: string | undefined; readonly message: string }
  /** It was asked to stop and has. */
  | { readonly kind: 'ended' }

/*
 * The thread that renews leases while the main thread's event loop is busy with somebody's computation. A loop has its
 * own connection and shares nothing with the main thread but the lease table.
 */

const loops = new Map<number, AbortController>()

parentPort?.on('message', (order: LeaseOrder) => {
  const tell = (news: LeaseNews) => parentPort?.postMessage({ loop: order.loop, ...news } satisfies LeaseMessage)
  if (order.kind === 'join') tell({ kind: 'here' })
  else if (order.kind === 'stop') loops.get(order.loop)?.abort()
  else void run(order.loop, order.data, tell)
})

async function run(loop: number, data: LeaseLoopData, tell: (news: LeaseNews) => void): Promise<void> {
  const stopping = new AbortController()
  loops.set(loop, stopping)
  tell({ kind: 'ready' })
  try {
    await runConnected(data, stopping.signal, tell)
    tell({ kind: 'ended' })
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined
    tell({ kind: 'failed', code, message: errorMessage(error) })
  }
  loops.delete(loop)
}

/** Runs the loop over a connection of its own. */
async function runConnected(data: LeaseLoopData, signal: AbortSignal, tell: (news: LeaseNews) => void): Promise<void> {
  const logger = loggerOf(tell)
  const connections = new RedisConnections(data.redis, logger)
  // What is under way then may wait for a server that is away.
  signal.addEventListener('abort', () => connections.close(), { once: true })
  try {
    const client = connections.client('pulse')
    await runLeaseLoop(data, { client, logger, signal, onLost: () => tell({ kind: 'lost' }) })
  } finally {
    connections.close()
  }
}

function loggerOf(tell: (news: LeaseNews) => void): Logger {
  const log =
    (level: 'info' | 'warn' | 'error') =>
    (fields: object, message = '') =>
      tell({ kind: 'log', level, fields, message })
  const logger: Logger = {
    ...{ debug: () => undefined, info: log('info'), warn: log('warn'), error: log('error') },
    child: () => logger,
  }
  return logger
}
