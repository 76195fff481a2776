import type { Logger } from '../logger.ts'
import type { Artifact } from '../protocol/event.ts'
import type { ToolDescription } from './tool.ts'

/** What can be said of a chunk besides its text. */
export interface EmitOptions {
  /** Goes into the event's `metadata`, next to `attempt`. */
  readonly metadata?: Record<string, unknown>
}

/** A task's private folder; made on first use and removed when the task ends. */
export interface Workspace {
  /** Absolute path of the folder. */
  readonly path: string
  /** @throws GatewayError `GW_PATH_OUTSIDE_WORKSPACE` for a path that leaves the folder, also by a symbolic link. */
  resolve(relativePath: string): string
  /** Writes a file and the folders above it; resolves with its absolute path. */
  write(relativePath: string, content: string | Uint8Array): Promise<string>
  read(relativePath: string): Promise<Buffer>
}

/** A live worker as a handler sees it. */
export interface ActiveWorker {
  readonly workerId: string
  readonly capabilities: readonly string[]
  readonly running: number
  readonly maxConcurrency: number
  readonly host: string
}

/** Everything a handler may touch: one object per attempt of a task. */
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
   * Appends a piece of the answer's text. Resolves when Redis has it; order is kept without awaiting.
   *
   * @throws GatewayError `GW_LEASE_LOST` when this attempt does not own its task any more.
   */
  emitChunk(chunk: string | { readonly content: string; readonly role?: string }, options?: EmitOptions): Promise<void>
  /** Says what the agent is doing now. */
  emitState(state: string | { readonly state: string; readonly detail?: unknown }, options?: EmitOptions): Promise<void>
  emitArtifact(artifact: Artifact, options?: EmitOptions): Promise<void>
  /** Appends any JSON. */
  emitData(data: unknown, options?: EmitOptions): Promise<void>

  /**
   * Calls a tool of the worker by name with checked arguments.
   *
   * @throws ToolNotFoundError, ToolInputError, or whatever the tool throws.
   */
  // biome-ignore lint/suspicious/noExplicitAny: a tool is known by its name only, so its output cannot be inferred here
  callTool<Output = any>(name: string, args: unknown): Promise<Output>
  /** The tools that {@link callTool} knows, by name, as a model is told of them. */
  describeTools(): ToolDescription[]

  readonly workspace: Workspace
  /** Live workers with capabilities and load. */
  getActiveWorkers(): Promise<ActiveWorker[]>
  /** Writes with the ids of task, session and trace. */
  readonly logger: Logger
}
