import { onTestFinished } from 'vitest'

/** The rejections that nobody has handled, each of which would end a process, from now to the end of the test. */
export function unhandledRejections(): readonly unknown[] {
  const rejections: unknown[] = []
  const onRejection = (reason: unknown) => rejections.push(reason)
  const before = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection')
  process.on('unhandledRejection', onRejection)
  onTestFinished(() => {
    process.off('unhandledRejection', onRejection)
    for (const listener of before) process.on('unhandledRejection', listener)
  })
  return rejections
}
