import { parentPort, workerData } from 'node:worker_threads'
import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { type LeaseLoopData, runLeaseLoop } from './lease-loop.ts'

/** What the thread tells the main thread. */
export type LeaseMessage =
  /** The loop runs: tasks can be taken. */
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

/*
 * The thread that renews leases while the main thread's event loop is busy with somebody's computation. It has its own
 * connection and shares nothing with the main thread but the lease table. Any message to it means: stop.
 */

const tell = (message: LeaseMessage) => parentPort?.postMessage(message)
const log =
  (level: 'info' | 'warn' | 'error') =>
  (fields: object, message = '') => {
    tell({ kind: 'log', level, fields, message })
  }
const logger: Logger = {
  debug: () => undefined,
  info: log('info'),
  warn: log('warn'),
  error: log('error'),
  child: () => logger,
}

const stopping = new AbortController()
parentPort?.once('message', () => stopping.abort())
tell({ kind: 'ready' })
try {
  await runLeaseLoop(workerData as LeaseLoopData, logger, stopping.signal, () => tell({ kind: 'lost' }))
} catch (error) {
  const code = error instanceof Error && 'code' in error ? String(error.code) : undefined
  tell({ kind: 'failed', code, message: errorMessage(error) })
}
parentPort?.close()
