import type { EmitOptions } from '../agent/context.ts'
import type { HandlerEvent } from '../agent/hooks.ts'
import { GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Emitting } from '../plugins/emit-line.ts'
import type { TaskPlugins } from '../plugins/task-plugins.ts'
import type { Artifact } from '../protocol/event.ts'
import { isObject } from '../protocol/json.ts'
import { Attended } from '../util/attended.ts'
import { loggable } from '../util/loggable.ts'
import { requireKnown, requireObject } from '../util/parse-options.ts'
import type { Emitter } from './emitter.ts'

const EMIT_OPTIONS = { metadata: true } as const

/** What a handler says: checked, then through the interceptors, if there are any, to the emitter. */
export class Voice {
  readonly #emitter: Emitter
  readonly #plugins: TaskPlugins | undefined
  readonly #step: () => string | undefined
  readonly #logger: () => Logger
  #hasComplained = false

  constructor(options: {
    emitter: Emitter
    /** Undefined where there are none. */
    plugins: TaskPlugins | undefined
    /** The step in whose body the running code is, if it is in one. */
    step: () => string | undefined
    logger: () => Logger
  }) {
    this.#emitter = options.emitter
    this.#plugins = options.plugins
    this.#step = options.step
    this.#logger = options.logger
  }

  chunk(chunk: string | { content: string; role?: string }, options: EmitOptions | undefined): Promise<void> {
    const content = typeof chunk === 'object' ? chunk?.content : chunk
    const role = typeof chunk === 'string' ? undefined : chunk?.role
    const field = isObject(chunk) ? 'chunk.content' : 'chunk'
    return this.#say({ type: 'chunk', content, role }, field, content, options)
  }

  state(state: string | { state: string; detail?: unknown }, options: EmitOptions | undefined): Promise<void> {
    const said = typeof state === 'object' ? state?.state : state
    const detail = typeof state === 'string' ? undefined : state?.detail
    const field = isObject(state) ? 'state.state' : 'state'
    return this.#say({ type: 'state', state: said, detail }, field, said, options)
  }

  artifact(artifact: Artifact, options: EmitOptions | undefined): Promise<void> {
    return this.#say({ type: 'artifact', artifact }, 'artifact.name', artifact?.name, options)
  }

  data(data: unknown, options: EmitOptions | undefined): Promise<void> {
    return this.#say({ type: 'data', data }, 'data', '', options)
  }

  /** Emits if `text`, the part of the event that must be there, is a text. */
  #say(body: HandlerEvent, field: string, text: unknown, options: EmitOptions | undefined): Promise<void> {
    try {
      checkSaid(field, text, options)
    } catch (error) {
      return Attended.of(Promise.reject(error)).ifUnheard((error) => this.#refused(error))
    }
    const step = this.#step()
    if (this.#plugins !== undefined) return this.#plugins.emit(body, options?.metadata, this.#emitting(step))
    const written = this.#emitter.emit(body, options?.metadata, step)
    return written instanceof Attended ? written.ifUnheard((error) => this.#refused(error)) : written
  }

  /**
   * Nobody awaits an event that was refused: the log is told of the first, since there may be many. What closed the emitter
   * is told by the end of the attempt.
   */
  #refused(error: unknown): void {
    if (this.#hasComplained || this.#emitter.isClosedBy(error)) return
    this.#hasComplained = true
    this.#logger().warn(
      { err: loggable(error) },
      'an event that nobody awaited was refused; more of this attempt are not logged',
    )
  }

  /** What interceptors hold back comes out before the handler waits, and before and after a step. */
  flush(): void {
    this.#plugins?.flush()
  }

  /** Where the events of a step, or of the handler itself, go. */
  #emitting(step: string | undefined): Emitting {
    const emitter = this.#emitter
    return {
      step,
      write: (event, metadata) => emitter.emit(event, metadata, step),
      isReplay: () => step === undefined && emitter.isHoldingBack,
      expect: () => emitter.expect(),
      refused: (error) => this.#refused(error),
      logger: this.#logger,
    }
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
