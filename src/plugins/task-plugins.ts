import type { MergedAgentConfig } from '../agent/agent-config.ts'
import type { AgentReply } from '../agent/calls.ts'
import type { AgentCallFacts, EmittedEvent, HandlerEvent, HookEvents, HookName, TaskFacts } from '../agent/hooks.ts'
import type { EmitInput, TaskInput, ToolCallInput } from '../agent/interceptor.ts'
import type { ToolContext } from '../agent/tool.ts'
import type { CommandContent } from '../protocol/command.ts'
import { Attended } from '../util/attended.ts'
import { EmitLine, type Emitting } from './emit-line.ts'
import { type AboutTask, factsOf } from './facts.ts'
import { findPrompt } from './find-prompt.ts'
import { HookLine } from './hook-line.ts'
import type { PromptVars } from './prompt-template.ts'
import type { PluginSnapshot } from './snapshot.ts'

type End = 'onTaskComplete' | 'onTaskError' | 'onTaskCancel' | 'onTaskLeave'

/** The plugins of one attempt of a task: those of its start, until {@link leave}. */
export class TaskPlugins {
  readonly snapshot: PluginSnapshot
  readonly #about: AboutTask
  readonly #line = new HookLine()
  #emits: EmitLine | undefined
  /** Where the newest event has come from; what is held back is always of the same step. */
  #newest: Emitting | undefined
  #task: TaskFacts | undefined
  #startedAt: number | undefined
  #hasLeft = false

  constructor(snapshot: PluginSnapshot, about: AboutTask) {
    snapshot.enter()
    this.snapshot = snapshot
    this.#about = about
  }

  /** What hooks and interceptors are told of the task. */
  get task(): TaskFacts {
    this.#task ??= factsOf(this.#about)
    return this.#task
  }

  /** The handler is about to begin. */
  started(content: CommandContent | undefined, resumed: boolean): void {
    this.#startedAt = performance.now()
    this.#tell('onTaskStart', () => ({ task: this.task, content, resumed }))
  }

  /** The attempt is over, and so it stands in Redis. */
  ended<Name extends End>(name: Name, event: Omit<HookEvents[Name], 'task' | 'durationMs'>): void {
    if (this.#startedAt === undefined) return
    const durationMs = performance.now() - this.#startedAt
    this.#startedAt = undefined
    this.#tell(name, () => ({ ...event, task: this.task, durationMs }) as HookEvents[Name], true)
  }

  /** Lets the plugins go as soon as they have heard everything. */
  leave(): void {
    if (this.#hasLeft) return
    this.#hasLeft = true
    this.#line.whenIdle(() => this.snapshot.leave())
  }

  /** Runs the handler inside the interceptors; resolves when all that it has emitted has come through, too. */
  async run(
    input: Omit<TaskInput, 'task'>,
    handle: (input: Omit<TaskInput, 'task'>) => Promise<unknown>,
  ): Promise<unknown> {
    const { task: around } = this.snapshot.interceptors
    try {
      if (around === undefined) return await handle(input)
      return await around({ ...input, task: this.task }, handle)
    } finally {
      this.flush()
      await this.#emits?.passed()
    }
  }

  /** Lets out what interceptors hold back, behind all that was emitted before. */
  flush(): void {
    const { flush } = this.snapshot.interceptors
    if (flush === undefined || this.#emits === undefined || this.#newest === undefined) return
    // What goes wrong is logged.
    void this.#emits.pass((last) => flush({ task: this.task }, last), this.#told(this.#newest))
  }

  /** Calls a tool inside the interceptors. */
  async call(tool: string, args: unknown, context: ToolContext): Promise<unknown> {
    const { tools, interceptors, owners } = this.snapshot
    const run = (input: Omit<ToolCallInput, 'task'>) => tools.call(input.tool, input.args, input.context)
    const around = interceptors.toolCall
    const began = performance.now()
    const about = () => ({
      task: this.task,
      tool,
      owner: owners.get(tool),
      args,
      durationMs: performance.now() - began,
    })
    try {
      const input = { tool, args, context }
      const output = await (around === undefined ? run(input) : around({ ...input, task: this.task }, run))
      this.#tell('onToolCall', () => ({ ...about(), status: 'ok', output }))
      return output
    } catch (error) {
      this.#tell('onToolCall', () => ({ ...about(), status: 'error', error }))
      throw error
    }
  }

  /**
   * Emits an event inside the interceptors; resolves when what they let through is written.
   *
   * @param write - Puts an event in line; resolves when it is written.
   */
  emit(event: HandlerEvent, metadata: Record<string, unknown> | undefined, emitting: Emitting): Promise<void> {
    const { emit: around } = this.snapshot.interceptors
    if (around === undefined) return Attended.of(this.#write(event, metadata, emitting)).ifUnheard(emitting.refused)
    this.#emits ??= new EmitLine()
    if (this.#newest?.step !== emitting.step) this.flush()
    this.#newest = emitting
    const input: EmitInput = { task: this.task, event, metadata }
    return this.#emits.pass((last) => around(input, last), this.#told(emitting))
  }

  /** The same, and the hooks are told of what was written. */
  #told(emitting: Emitting): Emitting {
    return { ...emitting, write: (event, metadata) => this.#write(event, metadata, emitting) }
  }

  async #write(
    event: HandlerEvent,
    metadata: Record<string, unknown> | undefined,
    { write, isReplay }: Emitting,
  ): Promise<void> {
    const replayed = isReplay()
    await write(event, metadata)
    this.#tell('onEvent', (): EmittedEvent => ({ task: this.task, event, metadata, replayed }))
  }

  /** Tells of a call of an agent, which has just been made. */
  async watchCall(
    facts: Omit<AgentCallFacts, 'task'> & { readonly content: CommandContent },
    outcome: Promise<AgentReply | undefined>,
  ): Promise<void> {
    const { content, ...rest } = facts
    const about = { ...rest, task: this.task }
    const began = performance.now()
    this.#tell('onCallAgentStart', () => ({ ...about, content }))
    try {
      const reply = await outcome
      this.#tell('onCallAgentComplete', () => ({ ...about, reply, durationMs: performance.now() - began }))
    } catch (error) {
      this.#tell('onCallAgentError', () => ({ ...about, error, durationMs: performance.now() - began }))
    }
  }

  /** @throws PromptNotFoundError, PromptVariableError */
  prompt(name: string, { vars = {}, agentId }: { vars?: PromptVars; agentId?: string }): string {
    return findPrompt(this.snapshot.agents, { name, agentId, agentType: this.#about.agentType }).fill(name, vars)
  }

  agentConfig(agentId = this.#about.agentType): MergedAgentConfig | undefined {
    return this.snapshot.agents.get(agentId)?.config
  }

  #tell<Name extends HookName>(name: Name, event: () => HookEvents[Name], isLast = false): void {
    const hooks = this.snapshot.hooks(name)
    if (hooks.length > 0 && !this.#hasLeft) this.#line.tell(hooks, event(), isLast)
  }
}
