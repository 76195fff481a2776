import {
  type BuildContext,
  type EmitInput,
  type Interceptors,
  type Next,
  Plugin,
  type TaskFacts,
} from 'byclaw-gateway-sdk'
import { GuardedText } from './guarded-text.ts'
import { type ContentGuardOptions, type ResolvedGuardOptions, resolveOptions } from './options.ts'
import { redact } from './rules.ts'

export type { ContentGuardOptions } from './options.ts'
export type { Rule, RuleName } from './rules.ts'

type Chunk = EmitInput & { readonly event: Extract<EmitInput['event'], { type: 'chunk' }> }

/** What is said in one attempt. */
interface Speech {
  readonly text: GuardedText
  /** The chunk that came last: what is held back comes out as part of it. */
  last: Chunk | undefined
}

/** Redacts what agents emit, and limits how much of it there is. */
export class ContentGuard extends Plugin {
  readonly manifest
  override readonly interceptors: Interceptors
  readonly #options: ResolvedGuardOptions
  readonly #speeches = new WeakMap<TaskFacts, Speech>()
  readonly #counts = new Map<string, number>()
  #logger: BuildContext['logger'] | undefined

  constructor(options: ContentGuardOptions = {}) {
    super()
    this.#options = resolveOptions(options)
    this.manifest = {
      ...{ pluginId: this.#options.pluginId, version: '0.1.0', name: 'Content guard' },
      ...{ description: 'Redacts what agents emit', priority: -100 }, // the last to see an event
    }
    this.interceptors = {
      emit: (input, next) => this.#emit(input, next),
      flush: ({ task }, emit) => sayHeld(this.#speechOf(task), emit),
    }
  }

  /** How often each rule has found something, since the worker started. */
  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts)
  }

  override registerAgentConfigs({ logger }: BuildContext) {
    this.#logger = logger
    return []
  }

  override onUnload(): void {
    if (this.#counts.size > 0) this.#logger?.info({ redacted: this.counts }, 'content guard: what was redacted')
  }

  async #emit(input: EmitInput, next: Next<EmitInput, void>): Promise<void> {
    if (!isChunk(input)) return next({ ...input, event: this.#clean(input.event) })
    const speech = this.#speechOf(input.task)
    if (speech.last?.event.role !== input.event.role) await sayHeld(speech, next)
    speech.last = input
    await say(input, speech.text.take(input.event.content), next)
  }

  #speechOf(task: TaskFacts): Speech {
    const known = this.#speeches.get(task)
    if (known !== undefined) return known
    const speech = { text: new GuardedText(this.#options, this.#count), last: undefined }
    this.#speeches.set(task, speech)
    return speech
  }

  /** The same event with all of its texts redacted. */
  #clean<Event extends EmitInput['event']>(event: Event): Event {
    const json = JSON.stringify(event)
    const bytes = Buffer.byteLength(json)
    const { maxEventBytes, rules } = this.#options
    if (bytes > maxEventBytes) {
      throw new Error(`content-guard: a ${event.type} event has ${bytes} bytes, the limit is ${maxEventBytes}`)
    }
    const { type, ...said } = event
    return { type, ...(mapTexts(said, (text) => redact(text, rules, this.#count)) as object) } as Event
  }

  readonly #count = (rule: string) => {
    this.#counts.set(rule, (this.#counts.get(rule) ?? 0) + 1)
  }
}

function isChunk(input: EmitInput): input is Chunk {
  return input.event.type === 'chunk'
}

async function sayHeld({ text, last }: Speech, emit: Next<EmitInput, void>): Promise<void> {
  if (last !== undefined) await say(last, text.flush(), emit)
}

/** Emits a chunk with another text, if there is some. */
async function say(chunk: Chunk, content: string, emit: Next<EmitInput, void>): Promise<void> {
  if (content !== '') await emit({ ...chunk, event: { ...chunk.event, content } })
}

/** A copy of JSON in which every text but the names of fields has gone through `change`. */
function mapTexts(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change))
  if (typeof value !== 'object' || value === null) return value
  if ('toJSON' in value) return mapTexts(JSON.parse(JSON.stringify(value)), change)
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapTexts(item, change)]))
}

/** Makes a guard; see the README for what it takes. */
export function contentGuard(options: ContentGuardOptions = {}): ContentGuard {
  return new ContentGuard(options)
}

/** With all built-in rules and no limit of the text. */
export default ContentGuard
