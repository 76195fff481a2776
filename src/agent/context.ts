import type { Logger } from '../logger.ts'
import type { Artifact } from '../protocol/event.ts'
import type { MergedAgentConfig, PluginVersionChange } from './agent-config.ts'
import type {
  AgentCall,
  AgentCallAccepted,
  AgentReply,
  ContractCall,
  GroupCalls,
  GroupOptions,
  GroupReplies,
  GroupReply,
  Question,
} from './calls.ts'
import type { AgentContract, ContractResult } from './contract.ts'
import type { HistoryMessage, HistoryPage } from './history.ts'
import type { ToolDescription } from './tool.ts'

/** What can be said of a chunk besides its text. */
export interface EmitOptions {
  /** Goes into the event's `metadata`, next to `attempt`. */
  readonly metadata?: Record<string, unknown> | undefined
}

/** A task's private folder; made on first use and removed when the task ends. */
export interface Workspace {
  /** Absolute path of the folder. */
  readonly path: string
  /**
   * @throws GatewayError `GW_PATH_OUTSIDE_WORKSPACE` for a path that leaves the folder, also by a symbolic link; `GW_CLOSED`
   * when the attempt is over.
   */
  resolve(relativePath: string): string
  /** Writes a file and the folders above it; resolves with its absolute path. */
  write(relativePath: string, content: string | Uint8Array): Promise<string>
  /** The bytes of a file, or with an encoding (`utf8`, `base64` …) its text. */
  read(relativePath: string): Promise<Buffer>
  read(relativePath: string, encoding: BufferEncoding): Promise<string>
}

/** How a prompt is made. */
export interface PromptOptions {
  /** The values of all variables in the template. */
  readonly vars?: Readonly<Record<string, string | number | boolean>> | undefined
  /** Whose prompt; see {@link AgentContext.prompt}. */
  readonly agentId?: string | undefined
}

/** A live worker as a handler sees it. */
export interface ActiveWorker {
  readonly workerId: string
  readonly capabilities: readonly string[]
  readonly running: number
  readonly maxConcurrency: number
  readonly host: string
}

/**
 * Everything a handler may touch: one object per attempt of a task. What it calls here need not be awaited at once, or at
 * all: of the calls that fail and that it has not come to await at its end, the first ten are logged.
 */
export interface AgentContext {
  readonly sessionId: string
  readonly messageId: string
  readonly traceId: string
  /** The capability under which this task came. */
  readonly agentType: string
  readonly workerId: string
  /** 1 for the first attempt. */
  readonly attempt: number
  /** The sender's `metadata`. */
  readonly metadata: Readonly<Record<string, unknown>>
  readonly userCode: string
  /**
   * A number that only grows from attempt to attempt of a task. Give it to a database or an API that can compare, so
   * that an attempt which lost its task without knowing cannot overwrite what its successor wrote.
   */
  readonly fencingToken: number
  /** Aborts on timeout, lost ownership and shutdown; `signal.reason` is a GatewayError whose code says which. */
  readonly signal: AbortSignal
  /** True as soon as `signal` is aborted. */
  readonly isCancelled: boolean
  /** Throws the signal's reason if it is aborted. */
  throwIfCancelled(): void

  /**
   * Appends a piece of the answer's text. Resolves when Redis has it; order is kept without awaiting. Of the events of an
   * attempt that are refused and that nobody awaits, the first is logged.
   *
   * @throws GatewayError `GW_LEASE_LOST` when this attempt does not own its task any more, `GW_PAYLOAD_TOO_LARGE` for more
   * than 16 MiB, `GW_INVALID_ARGUMENT` for what is no text or JSON, `GW_CLOSED` after the handler's end.
   */
  emitChunk(
    chunk: string | { readonly content: string; readonly role?: string | undefined },
    options?: EmitOptions,
  ): Promise<void>
  /** Says what the agent is doing now. */
  emitState(state: string | { readonly state: string; readonly detail?: unknown }, options?: EmitOptions): Promise<void>
  emitArtifact(artifact: Artifact, options?: EmitOptions): Promise<void>
  /** Appends any JSON. */
  emitData(data: unknown, options?: EmitOptions): Promise<void>

  /**
   * Calls a tool of the worker or of a plugin by name with checked arguments.
   *
   * @throws ToolNotFoundError, ToolInputError, or whatever the tool throws.
   */
  // biome-ignore lint/suspicious/noExplicitAny: a tool is known by its name only, so its output cannot be inferred here
  callTool<Output = any>(name: string, args: unknown): Promise<Output>
  /** The tools that {@link callTool} knows, by name, as a model is told of them. */
  describeTools(): ToolDescription[]

  /**
   * A prompt of a plugin, its variables filled in: of the agent `agentId`, else of this task's agent type, else of the
   * only agent that has one of that name.
   *
   * @throws PromptNotFoundError, or PromptVariableError for a variable that is missing or not in the template.
   */
  prompt(name: string, options?: PromptOptions): string
  /** What plugins have declared for an agent, by default for this task's agent type; undefined if nothing. */
  agentConfig(agentId?: string): MergedAgentConfig | undefined
  /** The version of a plugin with which this attempt runs; undefined if it is not there. */
  pluginVersion(pluginId: string): string | undefined
  /** The plugins that are other ones than before this task was last suspended; empty if it was not, or none is. */
  readonly pluginChanges: readonly PluginVersionChange[]

  /**
   * Calls another agent and waits for its answer. The call survives crashes of either side: a handler that runs again
   * gets the same answer from the same task. While it waits, this task takes no place of its worker's `maxConcurrency`.
   *
   * @throws AgentCallError when the called agent failed, was cancelled, or did not answer within `timeoutMs`.
   */
  callAgent<Contract extends AgentContract>(
    call: ContractCall<Contract> & { readonly waitForReply: false },
  ): Promise<AgentCallAccepted>
  callAgent(call: AgentCall & { readonly waitForReply: false }): Promise<AgentCallAccepted>
  callAgent<Contract extends AgentContract>(call: ContractCall<Contract>): Promise<AgentReply<ContractResult<Contract>>>
  callAgent<Data = unknown>(call: AgentCall): Promise<AgentReply<Data>>

  /** Calls several agents at once; resolves with all replies, in the order of `tasks`, whether they completed or not. */
  dispatchGroup<Calls extends readonly (AgentCall | ContractCall)[] | []>(
    tasks: GroupCalls<Calls>,
    options: GroupOptions & { readonly waitForReply: false },
  ): Promise<readonly AgentCallAccepted[]>
  dispatchGroup<Calls extends readonly (AgentCall | ContractCall)[] | []>(
    tasks: GroupCalls<Calls>,
    options?: GroupOptions,
  ): Promise<GroupReplies<Calls>>
  dispatchGroup<Data = unknown>(
    tasks: readonly AgentCall[],
    options?: GroupOptions,
  ): Promise<readonly GroupReply<Data>[]>

  /**
   * Asks a person and waits for the answer, for days if need be: the session gets an `ask_user` event, and
   * `client.reply` answers it. With a `schema` the answer must fit it, with `options` it must be one of them.
   *
   * @throws GatewayError `GW_TIMEOUT` when no answer comes within `timeoutMs`.
   */
  askUser<Answer = unknown>(question: string | Question<Answer>): Promise<Answer>
  /**
   * Runs `fn` once for the whole task: a handler that runs again, after a crash, a suspension or a failed attempt, gets
   * the recorded result. What is emitted inside belongs to the step: if it is interrupted it runs again, and readers are
   * told by a `rewind` to forget what the interrupted run said. What `fn` throws is recorded for the attempt: a handler that
   * runs again in it meets an error of the same name, text and plain members. The next attempt runs `fn` again.
   *
   * @returns what `fn` returned, as JSON has it; at most 1 MiB.
   */
  step<Result>(name: string, fn: () => Result | Promise<Result>): Promise<Result>
  /** Waits, also across crashes; a task that sleeps for long leaves memory, and takes no place of `maxConcurrency`. */
  sleep(ms: number): Promise<void>
  /** The time as Unix ms, recorded: a handler that runs again sees the same. */
  now(): Promise<number>
  /** A number from 0 to 1 that is the same when the handler runs again. Not for secrets. */
  random(): number
  /** A UUID that is the same when the handler runs again: good as an idempotency key. Not for secrets. */
  uuid(): string

  /**
   * For a change of the handler's code while tasks are under way: true for a task that comes here for the first time with
   * the change, false for one that an earlier run has carried past this place without it. It stays what it was for the
   * whole task. What one may do differently is whatever lies in the `if`; ids must not be used again for another change.
   */
  patched(id: string): Promise<boolean>

  /**
   * Calls back before this task is suspended: it then leaves memory, its pending promises never settle (nor do `finally`
   * blocks run), and the handler starts again from the top when an answer comes. It may go on after all, if the answer
   * comes just then.
   */
  onSuspend(callback: () => void | Promise<void>): void

  /**
   * What was said in this session, oldest first, up to what this task was asked: the newest messages, or those before a
   * given one. What agents ask each other is not part of it.
   *
   * @throws GatewayError `GW_HISTORY_FAILED` when the history does not answer, `GW_NO_HISTORY` when the worker has none.
   */
  getHistory(page?: HistoryPage): Promise<readonly HistoryMessage[]>

  /** A folder of this attempt's own; what comes after its end finds it closed. */
  readonly workspace: Workspace
  /** Live workers with capabilities and load. */
  getActiveWorkers(): Promise<ActiveWorker[]>
  /** Writes with the ids of task, session and trace. */
  readonly logger: Logger
}
