import { EXIT } from './failure.ts'

/** Ends the process quietly on Ctrl-C, on SIGTERM, and when nobody reads its output any more (`byclaw tail s | head -1`). */
export function endOnInterruption(): void {
  process.on('SIGINT', () => process.exit(EXIT.interrupted))
  process.on('SIGTERM', () => process.exit(EXIT.terminated))
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      process.exit(error.code === 'EPIPE' ? EXIT.brokenPipe : EXIT.failure)
    })
  }
}

/**
 * For a program that works on when its output goes nowhere any more, as its log does: a reader or a terminal that goes, or a
 * disk that is full, takes no task with it.
 */
export function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
}
