import { AsyncLocalStorage } from 'node:async_hooks'
import type { TestContext } from 'vitest'

const current = new AsyncLocalStorage<TestContext>()

/** Runs a test such that {@link onTestFinished} knows it. */
export function withinTest(run: () => Promise<void>, context: TestContext): Promise<void> {
  return current.run(context, run)
}

/**
 * Has something done when the test is over from within which it is called. Vitest's own knows of one test at a time; this
 * one serves also those that run side by side, in `describe.concurrent`.
 */
export function onTestFinished(end: () => unknown): void {
  const context = current.getStore()
  if (context === undefined) throw new Error('there is no test whose end could be waited for')
  context.onTestFinished(async () => void (await end()))
}
