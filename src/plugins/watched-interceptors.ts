import type { TaskFacts } from '../agent/hooks.ts'
import type { Interceptors, Next } from '../agent/interceptor.ts'
import type { Logger } from '../logger.ts'
import { Attended } from '../util/attended.ts'
import { loggable } from '../util/loggable.ts'

/**
 * The interceptors of a plugin, bound to the object in which they stand. What they call on need not be awaited at once, or at
 * all: of what fails and was not awaited by their end the log is told.
 *
 * @param logger - Names the plugin.
 */
export function watchInterceptors(interceptors: Interceptors, logger: Logger): Interceptors {
  const { task, toolCall, emit, flush } = interceptors
  const tell =
    (name: string) =>
    (error: unknown, { sessionId, messageId, traceId, attempt }: TaskFacts) => {
      const about = { interceptor: name, sessionId, messageId, traceId, attempt }
      logger.warn({ ...about, err: loggable(error) }, 'what an interceptor called on, and did not await, has failed')
    }
  return {
    task: task === undefined ? undefined : watched(task.bind(interceptors), tell('task')),
    toolCall: toolCall === undefined ? undefined : watched(toolCall.bind(interceptors), tell('toolCall')),
    emit: emit === undefined ? undefined : watched(emit.bind(interceptors), tell('emit')),
    flush: flush === undefined ? undefined : watched(flush.bind(interceptors), tell('flush')),
  }
}

function watched<Input extends { readonly task: TaskFacts }, Given, Output, Result>(
  interceptor: (input: Input, next: Next<Given, Output>) => Promise<Result>,
  tell: (error: unknown, task: TaskFacts) => void,
): (input: Input, next: Next<Given, Output>) => Promise<Result> {
  return async (input, next) => {
    const calls: Attended<Output>[] = []
    let isOver = false
    const watch = (called: Attended<Output>) => {
      if (!called.isAsked) called.ifUnheard((error) => tell(error, input.task))
    }
    const callOn = (given: Given) => {
      const called = Attended.of(next(given))
      if (isOver) watch(called)
      else calls.push(called)
      return called
    }
    try {
      return await interceptor(input, callOn)
    } finally {
      isOver = true
      for (const called of calls) watch(called)
    }
  }
}
