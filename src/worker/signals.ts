import { errorMessage } from '../errors.ts'
import type { Logger } from '../logger.ts'

const SIGNALS = ['SIGTERM', 'SIGINT'] as const

/** Stops a worker on SIGTERM and SIGINT. The listeners go with the worker, so that the process can end by itself. */
export function stopOnSignals(
  worker: { stop(): Promise<void>; readonly stopped: Promise<void> },
  logger: Logger,
): void {
  const onSignal = (signal: NodeJS.Signals) => {
    logger.info({ signal }, 'signal received, stopping')
    worker.stop().catch((error: unknown) => logger.error({ reason: errorMessage(error) }, 'the stop failed'))
  }
  for (const signal of SIGNALS) process.on(signal, onSignal)
  void worker.stopped.then(() => {
    for (const signal of SIGNALS) process.off(signal, onSignal)
  })
}
