import type { CommandContent } from '../protocol/command.ts'
import type { EventBody, TaskFault } from '../protocol/event.ts'
import type { AgentReply } from './calls.ts'

/*
 * The hooks of a plugin: a closed map, one argument each. The rules:
 *
 * 1. A hook watches. It changes nothing and nobody waits for it: no task is slower, later or other for what a hook does,
 *    throws or returns. What must change something, or must come first, is an interceptor (see interceptor.ts).
 *    The exception is `onWorkerStartup`: the worker waits for it, and a plugin whose start fails is not taken.
 * 2. Order. Plugins are asked by priority, the highest first; of equal ones the first that was added. One event goes from
 *    plugin to plugin, the next follows when the last of them is done; so a plugin hears the events of one task in the
 *    order in which they happened. Tasks do not wait for each other. At the end, `onWorkerShutdown` goes the other way.
 * 3. What a hook does before its first `await` happens at once: `onTaskStart` before the handler begins.
 * 4. A call that takes longer than the plugin's `hookTimeoutMs` (default 5,000 ms) is not waited for any longer.
 * 5. A call that throws or times out is logged with the plugin's id and the task's, and counted in the statistics. After
 *    three timeouts in a row a hook is left out for 30 s. A task keeps at most 1,000 events for slow hooks; what is left
 *    out is counted, too.
 * 6. Each attempt that calls `onTaskStart` calls exactly one of `onTaskComplete`, `onTaskError`, `onTaskCancel` and
 *    `onTaskLeave` at its end, when that end stands in Redis. A task that was cancelled or expired before its handler
 *    began calls none of them.
 * 7. A handler that runs again, after a crash, a failure or a suspension, calls its hooks again. `replayed` says
 *    that an earlier run has made this call, or has said this, already.
 * 8. A task has the plugins it started with until its attempt ends, whatever is reloaded meanwhile. `onUnload` comes when
 *    the last of these has ended; after it nothing of the plugin is called.
 */

/** The worker in which a plugin lives. */
export interface WorkerFacts {
  readonly workerId: string
  readonly capabilities: readonly string[]
}

/** The task of which a hook or an interceptor is told. */
export interface TaskFacts {
  readonly sessionId: string
  readonly messageId: string
  readonly traceId: string
  /** The task that called this one, or ''. */
  readonly parentMessageId: string
  readonly agentType: string
  readonly workerId: string
  /** 1 for the first attempt. */
  readonly attempt: number
  readonly userCode: string
  /** The sender's `metadata`. */
  readonly metadata: Readonly<Record<string, unknown>>
}

/** A handler is about to begin. */
export interface TaskStartEvent {
  readonly task: TaskFacts
  /** What was asked; undefined for a command that carries no content. */
  readonly content: CommandContent | undefined
  /** The handler runs again over what an earlier run has recorded. */
  readonly resumed: boolean
}

/** The task is COMPLETED. */
export interface TaskCompleteEvent {
  readonly task: TaskFacts
  readonly result: unknown
  /** Of this attempt, in ms. */
  readonly durationMs: number
}

/** The attempt failed. */
export interface TaskErrorEvent {
  readonly task: TaskFacts
  readonly error: TaskFault
  /** What was thrown. */
  readonly cause: unknown
  /** False: the task is FAILED. */
  readonly retrying: boolean
  readonly durationMs: number
}

/** The task is CANCELLED. */
export interface TaskCancelEvent {
  readonly task: TaskFacts
  readonly reason: string
  readonly durationMs: number
}

/** The attempt is over although its task is not, as far as this worker knows. */
export interface TaskLeaveEvent {
  readonly task: TaskFacts
  /** `suspended`: it waits outside of memory. `handed-over`: another worker, or a later attempt, goes on with it. */
  readonly reason: 'suspended' | 'handed-over'
  readonly durationMs: number
}

/** A call of another agent. */
export interface AgentCallFacts {
  readonly task: TaskFacts
  readonly targetAgentType: string
  /** The called task. */
  readonly calledMessageId: string
  readonly waitForReply: boolean
  /** The call was made by an earlier run of this task. */
  readonly replayed: boolean
}

export interface CallAgentStartEvent extends AgentCallFacts {
  readonly content: CommandContent
}

export interface CallAgentCompleteEvent extends AgentCallFacts {
  /** The answer; undefined where nobody waits for it: then the call was accepted. */
  readonly reply: AgentReply | undefined
  readonly durationMs: number
}

export interface CallAgentErrorEvent extends AgentCallFacts {
  readonly error: unknown
  readonly durationMs: number
}

/** A call of a tool has ended. */
export type ToolCallEvent = {
  readonly task: TaskFacts
  readonly tool: string
  /** The plugin whose tool it is; undefined for a tool of the worker. */
  readonly owner: string | undefined
  /** The arguments as the handler gave them. */
  readonly args: unknown
  readonly durationMs: number
} & ({ readonly status: 'ok'; readonly output: unknown } | { readonly status: 'error'; readonly error: unknown })

/** An event of the handler's stands in its session's stream. */
export interface EmittedEvent {
  readonly task: TaskFacts
  readonly event: HandlerEvent
  readonly metadata: Readonly<Record<string, unknown>> | undefined
  /** An earlier run of the attempt has said it already. */
  readonly replayed: boolean
}

/** The events that a handler emits; all others are the worker's. */
export type HandlerEvent = Extract<EventBody, { type: 'chunk' | 'state' | 'data' | 'artifact' }>

/** Why a plugin is unloaded. */
export interface UnloadEvent {
  /** `failed`: it was refused after it had begun to start. */
  readonly reason: 'replaced' | 'removed' | 'worker-stopped' | 'failed'
}

/** All hooks, by name, with what each is told. */
export interface HookEvents {
  onWorkerStartup: WorkerFacts
  onWorkerShutdown: WorkerFacts
  onTaskStart: TaskStartEvent
  onTaskComplete: TaskCompleteEvent
  onTaskError: TaskErrorEvent
  onTaskCancel: TaskCancelEvent
  onTaskLeave: TaskLeaveEvent
  onCallAgentStart: CallAgentStartEvent
  onCallAgentComplete: CallAgentCompleteEvent
  onCallAgentError: CallAgentErrorEvent
  onToolCall: ToolCallEvent
  onEvent: EmittedEvent
  onUnload: UnloadEvent
}

export type HookName = keyof HookEvents

/** The hooks as a plugin has them: any of them, or none. */
export type PluginHooks = {
  readonly [Name in HookName]?: ((event: HookEvents[Name]) => void | Promise<void>) | undefined
}

/** The names of all hooks. */
export const HOOK_NAMES = [
  'onWorkerStartup',
  'onWorkerShutdown',
  'onTaskStart',
  'onTaskComplete',
  'onTaskError',
  'onTaskCancel',
  'onTaskLeave',
  'onCallAgentStart',
  'onCallAgentComplete',
  'onCallAgentError',
  'onToolCall',
  'onEvent',
  'onUnload',
] as const satisfies readonly HookName[]

/** How a hook of a plugin has fared. */
export interface HookStats {
  readonly calls: number
  /** Calls that threw or rejected. */
  readonly failures: number
  readonly timeouts: number
  /** Calls that were left out, because the hook had timed out before or was too slow. */
  readonly skipped: number
  /** Of all calls, in ms; a call that timed out counts with its timeout. */
  readonly totalMs: number
  readonly maxMs: number
}
