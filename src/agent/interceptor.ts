import { errorMessage } from '../errors.ts'
import type { GatewayCommand } from '../protocol/command.ts'
import type { AgentContext } from './context.ts'
import type { HandlerEvent, TaskFacts } from './hooks.ts'
import type { ToolContext } from './tool.ts'

/** What comes after an interceptor: the next one, or what all of them are around. */
export type Next<Input, Output> = (input: Input) => Promise<Output>

/**
 * Stands around something and may change what goes in and what comes out, or do without it, or do it again: it gets the
 * input and `next`. What it throws is what the caller gets.
 */
export type Interceptor<Input, Output> = (input: Input, next: Next<Input, Output>) => Promise<Output>

/** A task on its way into the handler. */
export interface TaskInput {
  readonly task: TaskFacts
  readonly command: GatewayCommand
  readonly context: AgentContext
}

/** A call of a tool; the arguments are checked behind the last interceptor. */
export interface ToolCallInput {
  readonly task: TaskFacts
  readonly tool: string
  readonly args: unknown
  readonly context: ToolContext
}

/** An event on its way into the session's stream. */
export interface EmitInput {
  readonly task: TaskFacts
  readonly event: HandlerEvent
  readonly metadata: Record<string, unknown> | undefined
}

/** An interceptor of events is asked for what it holds back. */
export interface FlushInput {
  readonly task: TaskFacts
}

/**
 * What a plugin can stand around. The plugin of the highest priority is the outermost.
 *
 * They belong to the task: it waits for them, a hanging one is ended by the task's timeout or cancel, and what they throw
 * fails what they are around. A handler that runs again (see the durable calls) runs them again, so what they change must
 * not depend on chance or time.
 */
export interface Interceptors {
  /** Around the handler. The output becomes the task's result. */
  readonly task?: Interceptor<TaskInput, unknown> | undefined
  /** Around each call of a tool, of the worker's as of plugins'. */
  readonly toolCall?: Interceptor<ToolCallInput, unknown> | undefined
  /**
   * Around each event that the handler emits. They go one after another, in order; `next` resolves when the event is in
   * line, and may be called not at all or several times. The handler's emit resolves when Redis has all of it.
   */
  readonly emit?: Interceptor<EmitInput, void> | undefined
  /**
   * For one that holds events back in `emit`: now they must come out, because the handler has ended or begins to wait, a
   * step begins or ends, or another branch says something that belongs to another step. `emit` leads to the interceptors
   * behind this one. `task` is the same object for all events of an attempt, so that a WeakMap can keep what belongs to it.
   */
  readonly flush?: ((input: FlushInput, emit: Next<EmitInput, void>) => Promise<void>) | undefined
}

export const INTERCEPTOR_NAMES = [
  'task',
  'toolCall',
  'emit',
  'flush',
] as const satisfies readonly (keyof Interceptors)[]

/** One interceptor from several, the first of them the outermost; undefined if there are none. */
export function composeInterceptors<Input, Output>(
  all: readonly Interceptor<Input, Output>[],
): Interceptor<Input, Output> | undefined {
  if (all.length === 0) return undefined
  return (input, last) => {
    const from = (index: number): Next<Input, Output> => {
      const interceptor = all[index]
      return interceptor === undefined ? last : async (given) => interceptor(given, from(index + 1))
    }
    return from(0)(input)
  }
}

/**
 * The flushes of several interceptors, the outermost first; what each lets out goes through those behind it. One that
 * throws keeps nobody else from letting out what he holds; what was thrown is told when all were asked.
 */
export function composeFlushes(all: readonly Interceptors[]): Interceptors['flush'] {
  if (all.every(({ flush }) => flush === undefined)) return undefined
  return async (input, last) => {
    const failures: unknown[] = []
    for (const [index, one] of all.entries()) {
      const behind = composeInterceptors(all.slice(index + 1).flatMap(({ emit }) => emit ?? []))
      try {
        await one.flush?.(input, behind === undefined ? last : (given) => behind(given, last))
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 1) throw new AggregateError(failures, failures.map(errorMessage).join('; '))
    if (failures.length > 0) throw failures[0]
  }
}
