import { onTestFinished } from 'vitest'

/** The rejections that nobody has handled, each of which would end a process, from now to the end of the test. */
export function unhandledRejections(): readonly unknown[] {
  return heard('unhandledRejection')
}

/** What was thrown where nobody catches it, which would end a process as well, from now to the end of the test. */
export function uncaughtExceptions(): readonly unknown[] {
  return heard('uncaughtException')
}

function heard(event: 'unhandledRejection' | 'uncaughtException'): readonly unknown[] {
  const reasons: unknown[] = []
  const listen = (reason: unknown) => void reasons.push(reason)
  const before = process.rawListeners(event) as ((reason: unknown) => void)[]
  process.removeAllListeners(event)
  process.on(event, listen)
  onTestFinished(() => {
    process.off(event, listen)
    for (const listener of before) process.on(event, listener)
  })
  return reasons
}
