import type { ActiveWorker, AgentContext, EmitOptions, Workspace } from '../agent/context.ts'
import type { ToolDescription } from '../agent/tool.ts'
import { GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Artifact, EventBody } from '../protocol/event.ts'
import type { MessageHeader } from '../protocol/header.ts'
import type { Presence } from '../store/presence.ts'
import type { Emitter, Ownership } from './emitter.ts'
import type { TaskSignal } from './task-signal.ts'
import type { Toolbox } from './toolbox.ts'
import { TaskWorkspace } from './workspace.ts'

/** What all contexts of a worker share. */
export interface ContextResources {
  readonly workerId: string
  readonly workspaceDir: string
  readonly toolbox: Toolbox
  readonly presence: Presence
  readonly logger: Logger
}

/** The context of one attempt; see {@link AgentContext}. What is costly to make is made when it is asked for. */
export class TaskContext implements AgentContext {
  readonly sessionId: string
  readonly messageId: string
  readonly traceId: string
  readonly agentType: string
  readonly workerId: string
  readonly attempt: number
  readonly fencingToken: number
  readonly metadata: Readonly<Record<string, unknown>>
  readonly userCode: string
  readonly #resources: ContextResources
  readonly #emitter: Emitter
  readonly #signal: TaskSignal
  #logger: Logger | undefined
  #workspace: TaskWorkspace | undefined

  constructor(options: {
    resources: ContextResources
    header: MessageHeader
    agentType: string
    ownership: Ownership & { readonly epoch: number }
    emitter: Emitter
    signal: TaskSignal
  }) {
    const { header, ownership, resources } = options
    this.sessionId = header.sessionId
    this.messageId = header.messageId
    this.traceId = header.traceId
    this.metadata = header.metadata
    this.userCode = header.userCode
    this.agentType = options.agentType
    this.workerId = resources.workerId
    this.attempt = ownership.attempt
    this.fencingToken = ownership.epoch
    this.#resources = resources
    this.#emitter = options.emitter
    this.#signal = options.signal
  }

  get signal(): AbortSignal {
    return this.#signal.signal
  }

  get isCancelled(): boolean {
    return this.#signal.reason !== undefined
  }

  throwIfCancelled(): void {
    if (this.#signal.reason !== undefined) throw this.#signal.reason
  }

  emitChunk(chunk: string | { content: string; role?: string }, options?: EmitOptions): Promise<void> {
    const content = typeof chunk === 'string' ? chunk : chunk?.content
    const role = typeof chunk === 'string' ? undefined : chunk?.role
    return this.#say({ type: 'chunk', content, role }, 'chunk', content, options)
  }

  emitState(state: string | { state: string; detail?: unknown }, options?: EmitOptions): Promise<void> {
    const said = typeof state === 'string' ? state : state?.state
    const detail = typeof state === 'string' ? undefined : state?.detail
    return this.#say({ type: 'state', state: said, detail }, 'state', said, options)
  }

  emitArtifact(artifact: Artifact, options?: EmitOptions): Promise<void> {
    return this.#say({ type: 'artifact', artifact }, 'artifact.name', artifact?.name, options)
  }

  emitData(data: unknown, options?: EmitOptions): Promise<void> {
    return this.#say({ type: 'data', data }, 'data', '', options)
  }

  /** Emits if `text`, the part of the event that must be there, is a text. */
  #say(body: EventBody, field: string, text: unknown, options: EmitOptions | undefined): Promise<void> {
    if (typeof text === 'string') return this.#emitter.emit(body, options?.metadata)
    const refused = Promise.reject(
      new GatewayError('GW_INVALID_ARGUMENT', { field, value: text, reason: 'must be a text' }),
    )
    refused.catch(() => undefined) // like every emit, this one need not be awaited
    return refused
  }

  // biome-ignore lint/suspicious/noExplicitAny: see AgentContext
  async callTool<Output = any>(name: string, args: unknown): Promise<Output> {
    const { signal, sessionId, messageId, attempt, fencingToken, logger } = this
    const context = { signal, sessionId, messageId, attempt, fencingToken, logger }
    return (await this.#resources.toolbox.call(name, args, context)) as Output
  }

  describeTools(): ToolDescription[] {
    return this.#resources.toolbox.describe(this.#resources.logger)
  }

  get workspace(): Workspace {
    this.#workspace ??= new TaskWorkspace(this.#resources.workspaceDir, this, this.fencingToken)
    return this.#workspace
  }

  async getActiveWorkers(): Promise<ActiveWorker[]> {
    const workers = await this.#resources.presence.list()
    return workers.map(({ workerId, capabilities, running, maxConcurrency, host }) => ({
      ...{ workerId, capabilities, running, maxConcurrency, host },
    }))
  }

  get logger(): Logger {
    this.#logger ??= this.#resources.logger.child({
      sessionId: this.sessionId,
      messageId: this.messageId,
      traceId: this.traceId,
      attempt: this.attempt,
    })
    return this.#logger
  }

  /** True if there is something to {@link dispose}. */
  get hasWorkspace(): boolean {
    return this.#workspace !== undefined
  }

  /** Frees what the attempt has on disk. */
  async dispose(): Promise<void> {
    await this.#workspace?.remove()
  }
}
