import { onTestFinished } from 'vitest'

/** What Node warns of from now to the end of the test; it does so in the next turn of the event loop. */
export function processWarnings(): readonly Error[] {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  onTestFinished(() => void process.off('warning', onWarning))
  return warnings
}
