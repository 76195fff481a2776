import { hash, randomUUID } from 'node:crypto'
import { GatewayError } from '../errors.ts'

/** Names one task. */
export interface TaskRef {
  readonly sessionId: string
  readonly messageId: string
}

const CAPABILITY = /^[A-Za-z0-9_.-]{1,128}$/
// Printable, no spaces, and no braces: those mark the hash tag of a Cluster key.
const VERSION = /^[A-Za-z0-9_.+-]{1,64}$/
const ID = /^[^\s{}\p{C}\p{Z}]{1,256}$/u

/** `queue:ctrl:worker:<id>` belongs to the workers' own streams, so no capability may bear that name. */
const RESERVED_CAPABILITY = 'worker'

/** Why `value` cannot be a capability, or null if it can. */
export function capabilityFault(value: unknown): string | null {
  if (typeof value !== 'string' || !CAPABILITY.test(value)) return '1 to 128 of letters, digits, _ - . are allowed'
  return value === RESERVED_CAPABILITY ? 'this name is reserved' : null
}

/** Why `value` cannot be the version of a worker's code, or null if it can; it becomes part of keys. */
export function versionFault(value: unknown): string | null {
  return typeof value === 'string' && VERSION.test(value) ? null : '1 to 64 of letters, digits, _ - . + are allowed'
}

/** Why `value` cannot be a session, message or worker id, or null if it can. */
export function idFault(value: unknown): string | null {
  if (typeof value === 'string' && ID.test(value)) return null
  return '1 to 256 printable characters without { } and spaces are allowed'
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` naming `field`. */
export function checkCapability(field: string, value: unknown): string {
  return checked(field, value, capabilityFault(value))
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` naming `field`. */
export function checkId(field: string, value: unknown): string {
  return checked(field, value, idFault(value))
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` naming the id that is wrong. */
export function checkRef({ sessionId, messageId }: TaskRef): TaskRef {
  return { sessionId: checkId('sessionId', sessionId), messageId: checkId('messageId', messageId) }
}

function checked(field: string, value: unknown, fault: string | null): string {
  if (fault !== null) throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason: fault })
  return value as string
}

/**
 * A new message id: a UUID of version 7, so that those of one process sort as they were made, also within one ms. Its
 * entropy is 62 bits beside the time; no counter in Redis, which a failover could set back.
 */
export function newMessageId(): string {
  const now = Date.now()
  if (now > lastMs) startMs(now)
  else if (++countOfMs > 0xfff) startMs(lastMs + 1)
  return `${beginning}${countOfMs.toString(16).padStart(3, '0')}${randomUUID().slice(18)}`
}

// The counter of RFC 9562, 6.2, method 1: 12 bits beside the ms; what is over goes to the next ms.
let lastMs = 0
let countOfMs = 0
/** What all ids of the ms begin with. */
let beginning = ''

function startMs(ms: number): void {
  lastMs = ms
  countOfMs = 0
  const time = ms.toString(16).padStart(12, '0')
  beginning = `msg-${time.slice(0, 8)}-${time.slice(8)}-7`
}

/** A new trace id: 32 hex digits, the form of W3C Trace Context. */
export function newTraceId(): string {
  const id = randomUUID()
  // In place of a search for what stands between them: it is made for each send.
  return id.slice(0, 8) + id.slice(9, 13) + id.slice(14, 18) + id.slice(19, 23) + id.slice(24)
}

/** Id of the question that an operation of a task asks: the same in every run. */
export function askIdOf(messageId: string, operation: string): string {
  return `ask-${hash('sha256', `${messageId}\n${operation}`, 'hex').slice(0, 24)}`
}
