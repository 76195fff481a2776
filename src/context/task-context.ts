import type { MergedAgentConfig, PluginVersionChange } from '../agent/agent-config.ts'
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
} from '../agent/calls.ts'
import type { ActiveWorker, AgentContext, EmitOptions, PromptOptions, Workspace } from '../agent/context.ts'
import type { AgentContract, ContractResult } from '../agent/contract.ts'
import type { HistoryMessage, HistoryPage } from '../agent/history.ts'
import type { ToolDescription } from '../agent/tool.ts'
import { GatewayError, PromptNotFoundError } from '../errors.ts'
import type { HistoryKeeper } from '../history/keeper.ts'
import type { Logger } from '../logger.ts'
import type { TaskPlugins } from '../plugins/task-plugins.ts'
import { NO_PLUGINS, versionChanges } from '../plugins/version-changes.ts'
import type { Artifact } from '../protocol/event.ts'
import type { MessageHeader } from '../protocol/header.ts'
import type { Replay } from '../store/begin-answer.ts'
import type { Presence } from '../store/presence.ts'
import { attemptLogger } from './attempt-logger.ts'
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
import type { Said } from './hold-back.ts'
import type { TaskSignal } from './task-signal.ts'
import { type TaskText, textOf } from './task-text.ts'
import type { Toolbox } from './toolbox.ts'
import { UnheardCalls } from './unheard-calls.ts'
import { Voice } from './voice.ts'
import { TaskWorkspace } from './workspace.ts'

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
  #voice: Voice | undefined
  readonly #signal: TaskSignal
  readonly #plugins: TaskPlugins | undefined
  readonly #makeDurable: (journal: Journal) => DurableTask
  #durable: DurableTask | undefined
  #steps: Steps | undefined
  #pluginChanges: readonly PluginVersionChange[] | undefined
  #running = 0
  #unheard: UnheardCalls | undefined
  #isHandled = false
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

  get #speech(): Voice {
    this.#voice ??= new Voice({
      ...{ emitter: this.#emitter, plugins: this.#plugins },
      step: () => this.#durable?.scope.step,
      logger: () => this.logger,
    })
    return this.#voice
  }

  get isCancelled(): boolean {
    return this.#signal.reason !== undefined
  }

  throwIfCancelled(): void {
    if (this.#signal.reason !== undefined) throw this.#signal.reason
  }

  emitChunk(chunk: string | { content: string; role?: string }, options?: EmitOptions): Promise<void> {
    return this.#speech.chunk(chunk, options)
  }

  emitState(state: string | { state: string; detail?: unknown }, options?: EmitOptions): Promise<void> {
    return this.#speech.state(state, options)
  }

  emitArtifact(artifact: Artifact, options?: EmitOptions): Promise<void> {
    return this.#speech.artifact(artifact, options)
  }

  emitData(data: unknown, options?: EmitOptions): Promise<void> {
    return this.#speech.data(data, options)
  }

  // biome-ignore lint/suspicious/noExplicitAny: see AgentContext
  callTool<Output = any>(name: string, args: unknown): Promise<Output> {
    const isDurable = (this.#plugins?.snapshot.tools ?? this.#resources.toolbox).isDurable(name)
    const called = isDurable
      ? this.#run((task) => callRecorded(task, { name, args }, () => this.#callTool(name, args)))
      : this.#callTool(name, args)
    return this.#watch('callTool', called, name) as Promise<Output>
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
    return this.#watch('callAgent', this.#callAgent(call))
  }

  async #callAgent(call: AgentCall | ContractCall): Promise<AgentReply | AgentCallAccepted> {
    this.#voice?.flush()
    return new AgentCalls(this.#needDurable()).call(call)
  }

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
  dispatchGroup(tasks: readonly (AgentCall | ContractCall)[], options: GroupOptions = {}): Promise<readonly unknown[]> {
    return this.#watch('dispatchGroup', this.#dispatchGroup(tasks, options))
  }

  async #dispatchGroup(
    tasks: readonly (AgentCall | ContractCall)[],
    options: GroupOptions,
  ): Promise<readonly unknown[]> {
    this.#voice?.flush()
    return new AgentCalls(this.#needDurable()).group(tasks, options)
  }

  step<Result>(name: string, fn: () => Result | Promise<Result>): Promise<Result> {
    // What is no function is refused as such, with plugins as without.
    const isPlain = this.#plugins === undefined || typeof fn !== 'function'
    if (isPlain) return this.#durably('step', (task) => this.#needSteps(task).run(name, fn), name)
    this.#voice?.flush()
    const body = async () => {
      const result = await fn()
      this.#voice?.flush()
      return result
    }
    return this.#durably('step', (task) => this.#needSteps(task).run(name, body), name)
  }

  sleep(ms: number): Promise<void> {
    this.#voice?.flush()
    return this.#durably('sleep', (task) => sleep(task, ms))
  }

  askUser<Answer = unknown>(question: string | Question<Answer>): Promise<Answer> {
    this.#voice?.flush()
    return this.#durably('askUser', (task) => askUser(task, question)) as Promise<Answer>
  }

  now(): Promise<number> {
    return this.#durably('now', now)
  }

  random(): number {
    return random(this.#needDurable())
  }

  uuid(): string {
    return uuid(this.#needDurable())
  }

  patched(id: string): Promise<boolean> {
    return this.#durably('patched', (task) => patched(task, id), id)
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
    const { text } = this.#emitter
    if (text.isPartial) text.complete(await this.#readSaid())
  }

  /** Lets go of what the task has called: it starts afresh, and will call again. */
  cancelCalls(): void {
    if (this.#durable !== undefined) new AgentCalls(this.#durable).cancelOpen()
  }

  /** What this attempt has said so far. */
  get text(): TaskText {
    return this.#emitter.text
  }

  /** The text of this task as it stands in the stream. */
  async readText(): Promise<string> {
    return textOf(await this.#readSaid())
  }

  async #readSaid(): Promise<readonly Said[]> {
    await this.#emitter.flushed()
    return readSaid(this.#resources.durable.reader, this, '0-0')
  }

  /** What this task has asked is being kept: whoever reads the history waits for what `remembered` answers. */
  awaitHistory(remembered: () => Promise<void> | undefined): void {
    this.#remembered = remembered
  }

  getHistory(page?: HistoryPage): Promise<readonly HistoryMessage[]> {
    return this.#watch('getHistory', this.#getHistory(page))
  }

  async #getHistory(page?: HistoryPage): Promise<readonly HistoryMessage[]> {
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

  #durably<Result>(call: string, run: (task: DurableTask) => Promise<Result>, name?: string): Promise<Result> {
    return this.#watch(call, this.#run(run), name)
  }

  /** A call that need not be awaited; see {@link UnheardCalls}. */
  #watch<Result>(call: string, called: Promise<Result>, name?: string): Promise<Result> {
    this.#unheard ??= new UnheardCalls(this.#signal, () => this.logger, this.#isHandled)
    return this.#unheard.watch(call, called, name)
  }

  /** The handler has come to its end. */
  handled(): void {
    this.#isHandled = true
    this.#unheard?.handled()
  }

  async #run<Result>(run: (task: DurableTask) => Promise<Result>): Promise<Result> {
    return run(this.#needDurable())
  }

  #needSteps(task: DurableTask): Steps {
    this.#steps ??= new Steps(task)
    return this.#steps
  }

  #needDurable(): DurableTask {
    if (this.#durable === undefined) {
      this.#durable = this.#makeDurable(new Journal(this.attempt))
      // Nobody would end one that is first asked for after the end.
      if (this.#isHandled) this.#durable.end()
    }
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
    if (this.#workspace === undefined) {
      this.#workspace = new TaskWorkspace(this.#resources.workspaceDir, this, (...call) => this.#watch(...call))
      // Nobody would remove a folder that is first asked for after the end.
      if (this.#isHandled) void this.#workspace.remove()
    }
    return this.#workspace
  }

  getActiveWorkers(): Promise<ActiveWorker[]> {
    return this.#watch('getActiveWorkers', this.#getActiveWorkers())
  }

  async #getActiveWorkers(): Promise<ActiveWorker[]> {
    const workers = await this.#resources.presence.list()
    return workers.map(({ workerId, capabilities, running, maxConcurrency, host }) => ({
      ...{ workerId, capabilities, running, maxConcurrency, host },
    }))
  }

  get logger(): Logger {
    this.#logger ??= attemptLogger(this.#resources.logger, this)
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
