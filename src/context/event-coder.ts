import { errorMessage, GatewayError } from '../errors.ts'
import { type EventBody, eventEncoder } from '../protocol/event.ts'
import type { MessageHeader } from '../protocol/header.ts'

/**
 * Most bytes of one event: half of what makes a server drop a subscriber (32 MB behind, the default of
 * `client-output-buffer-limit pubsub`), who would then have to read it from the stream.
 */
const MOST_BYTES = 16_777_216
/** Most bytes that JSON makes of one character, as in `\u0007`. */
const MOST_BYTES_PER_CHARACTER = 6
/** More than an event has besides its text. */
const ENVELOPE_BYTES = 8_192

/** The events that a handler emits; the others are said by the worker. */
const HANDLERS: ReadonlySet<EventBody['type']> = new Set(['chunk', 'state', 'data', 'artifact'])

/** True for an event that a handler emits. */
export function isHandlers({ type }: EventBody): boolean {
  return HANDLERS.has(type)
}

/** How the events of one attempt become JSON, and how large those of its handler may be. */
export class EventCoder {
  readonly #encode: ReturnType<typeof eventEncoder>
  readonly #attempt: number
  readonly #maxBytes: number

  constructor(
    header: MessageHeader,
    {
      agentType,
      attempt,
      maxBytes = MOST_BYTES,
    }: { agentType: string; attempt: number; maxBytes?: number | undefined },
  ) {
    this.#encode = eventEncoder(header, agentType)
    this.#attempt = attempt
    this.#maxBytes = maxBytes
  }

  encode(body: EventBody, about?: Record<string, unknown>): string {
    return this.#encode(body, this.#attempt, about)
  }

  /** So many characters fit into a chunk, whatever they are. */
  get surelyFit(): number {
    return (this.#maxBytes - ENVELOPE_BYTES) / MOST_BYTES_PER_CHARACTER
  }

  /** @throws GatewayError `GW_PAYLOAD_TOO_LARGE` for an event that is not to be encoded yet. */
  requireFit(body: EventBody, metadata: Record<string, unknown> | undefined): void {
    // Encoding half a gigabyte, only to say how much it is, would take seconds.
    const isSure = body.type === 'chunk' && body.content.length > this.#maxBytes
    this.requireSize(body, isSure ? body.content : this.encode(body, metadata))
  }

  /** @throws GatewayError `GW_PAYLOAD_TOO_LARGE` for a handler's event whose JSON is too long. */
  requireSize(body: EventBody, json: string): void {
    const limit = this.#maxBytes
    if (json.length * 3 <= limit || !isHandlers(body)) return
    const bytes = Buffer.byteLength(json)
    if (bytes > limit) throw new GatewayError('GW_PAYLOAD_TOO_LARGE', { field: `the ${body.type} event`, bytes, limit })
  }
}

/** Why an event cannot be said: cycles and BigInts, which JSON cannot carry, and what is too large. */
export function codingFault({ type }: EventBody, cause: unknown): GatewayError {
  if (cause instanceof GatewayError) return cause
  const reason = errorMessage(cause)
  return new GatewayError('GW_INVALID_ARGUMENT', { field: `the ${type} event`, reason }, { cause })
}
