import type { MergedAgentConfig, PluginVersionChange } from '../agent/agent-config.ts'
import type {
  AgentCall,
  AgentCallAccepted,
  AgentReply,
  ContractCall,
  GroupOptions,
  GroupReply,
  Question,
} from '../agent/calls.ts'
import type { ActiveWorker, AgentContext, EmitOptions, PromptOptions, Workspace } from '../agent/context.ts'
import type { AgentContract, ContractResult } from '../agent/contract.ts'
import type { HistoryMessage, HistoryPage } from '../agent/history.ts'
import type { HandlerEvent } from '../agent/hooks.ts'
import type { ToolDescription } from '../agent/tool.ts'
import { GatewayError, PromptNotFoundError } from '../errors.ts'
import type { HistoryKeeper } from '../history/keeper.ts'
import type { Logger } from '../logger.ts'
import type { Emitting } from '../plugins/emit-line.ts'
import type { TaskPlugins } from '../plugins/task-plugins.ts'
import { NO_PLUGINS, versionChanges } from '../plugins/version-changes.ts'
import type { Artifact } from '../protocol/event.ts'
import type { MessageHeader } from '../protocol/header.ts'
import type { Replay } from '../store/begin-answer.ts'
import type { Presence } from '../store/presence.ts'
import { leavable } from '../util/leavable.ts'
import { requireKnown, requireObject } from '../util/parse-options.ts'
import { AgentCalls } from './durable/agent-calls.ts'
import { askUser } from './durable/asks.ts'
import type { DurableResources, DurableTask } from './durable/durable-task.ts'
import { Journal } from './durable/journal.ts'
import { patched } from './durable/patches.ts'
import { notedPlugins } from './durable/plugin-notes.ts'
import { readSaid } from './durable/step-text.ts'
import { Steps } from './durable/steps.ts'
import { sleep } from './durable/timers.ts'
import { callRecorded } from './durable/tool-calls.ts'
import { now, random, uuid } from './durable/values.ts'
import type { Emitter, Ownership } from './emitter.ts'
import type { TaskSignal } from './task-signal.ts'
import type { Toolbox } from './toolbox.ts'
import { TaskWorkspace } from './workspace.ts'

const EMIT_OPTIONS = { metadata: true } as const

/** What all contexts of a worker share. */
export interface ContextResources {
  readonly workerId: string
  readonly workspaceDir: string
  readonly toolbox: Toolbox
  readonly presence: Presence
  readonly durable: DurableResources
  readonly logger: Logger
  /** Undefined: the worker keeps none. */
  readonly history?: HistoryKeeper | undefined
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
  readonly #plugins: TaskPlugins | undefined
  readonly #makeDurable: (journal: Journal) => DurableTask
  #durable: DurableTask | undefined
  #steps: Steps | undefined
  #pluginChanges: readonly PluginVersionChange[] | undefined
  #running = 0
  #logger: Logger | undefined
  #workspace: TaskWorkspace | undefined
  #remembered: (() => Promise<void> | undefined) | undefined

  constructor(options: {
    resources: ContextResources
    header: MessageHeader
    agentType: string
    ownership: Ownership & { readonly epoch: number }
    emitter: Emitter
    signal: TaskSignal
    /** Undefined where there are none. */
    plugins?: TaskPlugins | undefined
    /** Makes the durable side of the task, when it is first needed. */
    makeDurable: (journal: Journal) => DurableTask
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
    this.#plugins = options.plugins
    this.#makeDurable = options.makeDurable
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
    const content = typeof chunk === 'object' ? chunk?.content : chunk
    const role = typeof chunk === 'string' ? undefined : chunk?.role
    return this.#say({ type: 'chunk', content, role }, 'chunk', content, options)
  }

  emitState(state: string | { state: string; detail?: unknown }, options?: EmitOptions): Promise<void> {
    const said = typeof state === 'object' ? state?.state : state
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
  #say(body: HandlerEvent, field: string, text: unknown, options: EmitOptions | undefined): Promise<void> {
    try {
      checkSaid(field, text, options)
    } catch (error) {
      return leavable(Promise.reject(error)) // like every emit, this one need not be awaited
    }
    const step = this.#durable?.scope.step
    if (this.#plugins === undefined) return this.#emitter.emit(body, options?.metadata, step)
    return this.#plugins.emit(body, options?.metadata, this.emitting(step))
  }

  /** What interceptors hold back comes out before the handler waits, and before and after a step. */
  #flush(): void {
    this.#plugins?.flush(() => this.emitting())
  }

  /** Where the events of the running code go. */
  emitting(step = this.#durable?.scope.step): Emitting {
    const emitter = this.#emitter
    return {
      write: (event, metadata) => emitter.emit(event, metadata, step),
      isReplay: () => step === undefined && emitter.isHoldingBack,
      expect: () => emitter.expect(),
      logger: () => this.logger,
    }
  }

  // biome-ignore lint/suspicious/noExplicitAny: see AgentContext
  callTool<Output = any>(name: string, args: unknown): Promise<Output> {
    const isDurable = (this.#plugins?.snapshot.tools ?? this.#resources.toolbox).isDurable(name)
    return (
      isDurable
        ? this.#durably((task) => callRecorded(task, { name, args }, () => this.#callTool(name, args)))
        : leavable(this.#callTool(name, args))
    ) as Promise<Output>
  }

  async #callTool(name: string, args: unknown): Promise<unknown> {
    const { signal, sessionId, messageId, attempt, fencingToken, logger } = this
    const context = { signal, sessionId, messageId, attempt, fencingToken, logger }
    this.#running += 1
    try {
      const tools = this.#plugins ?? this.#resources.toolbox
      return await tools.call(name, args, context)
    } finally {
      this.#running -= 1
    }
  }

  callAgent<Contract extends AgentContract>(
    call: ContractCall<Contract> & { readonly waitForReply: false },
  ): Promise<AgentCallAccepted>
  callAgent(call: AgentCall & { readonly waitForReply: false }): Promise<AgentCallAccepted>
  callAgent<Contract extends AgentContract>(call: ContractCall<Contract>): Promise<AgentReply<ContractResult<Contract>>>
  callAgent<Data = unknown>(call: AgentCall): Promise<AgentReply<Data>>
  callAgent(call: AgentCall | ContractCall): Promise<AgentReply | AgentCallAccepted> {
    return leavable(this.#callAgent(call))
  }

  async #callAgent(call: AgentCall | ContractCall): Promise<AgentReply | AgentCallAccepted> {
    this.#flush()
    return new AgentCalls(this.#needDurable()).call(call)
  }

  dispatchGroup(
    tasks: readonly (AgentCall | ContractCall)[],
    options: GroupOptions & { readonly waitForReply: false },
  ): Promise<readonly AgentCallAccepted[]>
  dispatchGroup<Data = unknown>(
    tasks: readonly (AgentCall | ContractCall)[],
    options?: GroupOptions,
  ): Promise<readonly GroupReply<Data>[]>
  dispatchGroup(tasks: readonly (AgentCall | ContractCall)[], options: GroupOptions = {}): Promise<readonly unknown[]> {
    return leavable(this.#dispatchGroup(tasks, options))
  }

  async #dispatchGroup(
    tasks: readonly (AgentCall | ContractCall)[],
    options: GroupOptions,
  ): Promise<readonly unknown[]> {
    this.#flush()
    return new AgentCalls(this.#needDurable()).group(tasks, options)
  }

  step<Result>(name: string, fn: () => Result | Promise<Result>): Promise<Result> {
    if (this.#plugins === undefined) return this.#durably((task) => this.#needSteps(task).run(name, fn))
    this.#flush()
    const body = async () => {
      const result = await fn()
      this.#flush()
      return result
    }
    return this.#durably((task) => this.#needSteps(task).run(name, body))
  }

  sleep(ms: number): Promise<void> {
    this.#flush()
    return this.#durably((task) => sleep(task, ms))
  }

  askUser<Answer = unknown>(question: string | Question<Answer>): Promise<Answer> {
    this.#flush()
    return this.#durably((task) => askUser(task, question)) as Promise<Answer>
  }

  now(): Promise<number> {
    return this.#durably(now)
  }

  random(): number {
    return random(this.#needDurable())
  }

  uuid(): string {
    return uuid(this.#needDurable())
  }

  patched(id: string): Promise<boolean> {
    return this.#durably((task) => patched(task, id))
  }

  onSuspend(callback: () => void | Promise<void>): void {
    this.#needDurable().onSuspend(callback)
  }

  /** The durable side of the task, if it has come to need one. */
  get durable(): DurableTask | undefined {
    return this.#durable
  }

  /** Completes the text of this attempt, where parts of it were said by earlier runs. */
  async completeText(): Promise<void> {
    if (!this.#emitter.isTextPartial) return
    await this.#emitter.flushed()
    this.#emitter.completeText(await readSaid(this.#resources.durable.reader, this, '0-0'))
  }

  /** Lets go of what the task has called: it starts afresh, and will call again. */
  cancelCalls(): void {
    if (this.#durable !== undefined) new AgentCalls(this.#durable).cancelOpen()
  }

  /** What this attempt has said so far; see {@link isTextWhole}. */
  get text(): string {
    return this.#emitter.text
  }

  /** True if {@link text} is all of it: no part was said by earlier runs only, and it is not too long to be held. */
  get isTextWhole(): boolean {
    return !this.#emitter.isTextPartial && !this.#emitter.isTextCut
  }

  /** The text of this task as it stands in the stream. */
  async readText(): Promise<string> {
    await this.#emitter.flushed()
    const said = await readSaid(this.#resources.durable.reader, this, '0-0')
    return said.map(({ body }) => (body.type === 'chunk' ? body.content : '')).join('')
  }

  /** What this task has asked is being kept: whoever reads the history waits for what `remembered` answers. */
  awaitHistory(remembered: () => Promise<void> | undefined): void {
    this.#remembered = remembered
  }

  async getHistory(page?: HistoryPage): Promise<readonly HistoryMessage[]> {
    const { history } = this.#resources
    if (history === undefined)
      throw new GatewayError('GW_NO_HISTORY', { reason: 'this worker runs with history: false' })
    await this.#remembered?.()
    return history.list(this.sessionId, page)
  }

  /** True while a tool runs. */
  get isBusy(): boolean {
    return this.#running > 0
  }

  /** Goes on from what earlier runs did. */
  async replay(replay: Replay): Promise<void> {
    const raw = replay.journal ?? (await this.#resources.durable.journals.load(this))
    const journal = new Journal(this.attempt, raw)
    const { versions } = notedPlugins(journal)
    if (versions !== undefined) this.#noteChanges(versions)
    const durable = this.#makeDurable(journal)
    this.#durable = durable
    const steps = this.#needSteps(durable)
    const hasStepTexts = journal.spokenSteps().length > 0
    const questions = () => durable.questions.values()
    this.#emitter.resume(replay, { restore: (key) => steps.restore(key), hasStepTexts, questions })
  }

  /** Tells of plugins that are other ones than before the suspension. */
  #noteChanges(before: string): void {
    const changes = versionChanges(before, this.#plugins?.snapshot.versions ?? NO_PLUGINS)
    this.#pluginChanges = changes
    if (changes.length > 0) this.logger.info({ changes }, 'the task goes on with other plugins than before')
  }

  #durably<Result>(run: (task: DurableTask) => Promise<Result>): Promise<Result> {
    return leavable(this.#run(run))
  }

  async #run<Result>(run: (task: DurableTask) => Promise<Result>): Promise<Result> {
    return run(this.#needDurable())
  }

  #needSteps(task: DurableTask): Steps {
    this.#steps ??= new Steps(task)
    return this.#steps
  }

  #needDurable(): DurableTask {
    this.#durable ??= this.#makeDurable(new Journal(this.attempt))
    return this.#durable
  }

  describeTools(): ToolDescription[] {
    const tools = this.#plugins?.snapshot.tools ?? this.#resources.toolbox
    return tools.describe(this.#resources.logger)
  }

  prompt(name: string, options: PromptOptions = {}): string {
    if (this.#plugins === undefined) throw new PromptNotFoundError(name, [])
    return this.#plugins.prompt(name, options)
  }

  agentConfig(agentId?: string): MergedAgentConfig | undefined {
    return this.#plugins?.agentConfig(agentId)
  }

  pluginVersion(pluginId: string): string | undefined {
    return this.#plugins?.snapshot.version(pluginId)
  }

  get pluginChanges(): readonly PluginVersionChange[] {
    return this.#pluginChanges ?? []
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

/** @throws GatewayError `GW_INVALID_ARGUMENT` for what cannot be emitted; most events have no options. */
function checkSaid(field: string, text: unknown, options: EmitOptions | undefined): void {
  if (typeof text !== 'string') {
    throw new GatewayError('GW_INVALID_ARGUMENT', { field, value: text, reason: 'must be a text' })
  }
  if (options === undefined) return
  requireKnown(options, EMIT_OPTIONS)
  if (options.metadata !== undefined) requireObject('metadata', options.metadata)
}
