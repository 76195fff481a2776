import type { HandlerEvent } from '../agent/hooks.ts'
import type { EmitInput, Next } from '../agent/interceptor.ts'
import { GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { Attended } from '../util/attended.ts'
import { loggable } from '../util/loggable.ts'

/** Puts an event in line for its stream; resolves when it is written. */
export type WriteEvent = (event: HandlerEvent, metadata: Record<string, unknown> | undefined) => Promise<void>

/** Where the events of a task go. */
export interface Emitting {
  /** The step in whose body they are said, if it is in one. */
  readonly step: string | undefined
  readonly write: WriteEvent
  /** True if what is written now only repeats what an earlier run has said. */
  readonly isReplay: () => boolean
  /** Says that an event is on its way; what it answers is called when that has come, or will not come. */
  readonly expect: () => () => void
  /** Told why an event is not written, where nobody awaits it. */
  readonly refused: (error: unknown) => void
  readonly logger: () => Logger
}

type LetThrough = Next<EmitInput, void>

/**
 * Leads the events of one task through the interceptors, one after another, so that they come out in the order in which
 * they were emitted. Being let through does not wait for Redis: what is emitted in one go is still written in one go.
 */
export class EmitLine {
  #last: Promise<void> = Promise.resolve()

  /** Resolves when all that was let through is written. */
  pass(around: (last: LetThrough) => Promise<void>, emitting: Emitting): Promise<void> {
    const arrived = emitting.expect()
    const writes: Promise<void>[] = []
    let isOver = false
    let hasThrown = false
    const last: LetThrough = async ({ event, metadata }) => {
      if (isOver) throw new GatewayError('GW_CLOSED', { what: 'emit whose interceptor has returned' })
      checkEvent(event)
      const written = emitting.write(event, metadata)
      written.catch(() => undefined) // whoever emitted is told below
      writes.push(written)
    }
    const passed = this.#last.then(() => around(last))
    this.#last = passed.then(
      () => {
        isOver = true
        arrived()
      },
      (error: unknown) => {
        isOver = true
        hasThrown = true
        emitting.logger().error({ err: loggable(error) }, 'an interceptor threw, its event is not written')
        arrived()
      },
    )
    const written = passed.then(async () => {
      await Promise.all(writes)
    })
    return Attended.of(written).ifUnheard((error) => {
      if (!hasThrown) emitting.refused(error)
    })
  }

  /** Resolves when everything has come through. */
  async passed(): Promise<void> {
    let last: Promise<void>
    do {
      last = this.#last
      await last
    } while (last !== this.#last)
  }
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` for what a handler could not have emitted. */
function checkEvent(event: HandlerEvent): void {
  const { field, text } = textOf(event)
  if (typeof text === 'string') return
  throw new GatewayError('GW_INVALID_ARGUMENT', {
    field: `${field} of an interceptor`,
    value: text,
    reason: 'must be a text',
  })
}

function textOf(event: HandlerEvent): { field: string; text: unknown } {
  switch (event?.type) {
    case 'chunk':
      return { field: 'the chunk', text: event.content }
    case 'state':
      return { field: 'the state', text: event.state }
    case 'artifact':
      return { field: 'artifact.name', text: event.artifact?.name }
    case 'data':
      return { field: 'data', text: '' }
    default: {
      const { type } = event ?? { type: undefined }
      const reason = 'must be chunk, state, data or artifact'
      throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'the type of an event', value: type, reason })
    }
  }
}
