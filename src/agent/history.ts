/** Who said something in a session. */
export type HistoryRole = 'user' | 'assistant' | 'system' | 'tool'

/** All roles, for checks at the border. */
export const HISTORY_ROLES: readonly HistoryRole[] = ['user', 'assistant', 'system', 'tool']

/** What was said: text, or anything richer, such as messages with files or the input of a typed contract. */
export type HistoryContent = string | readonly unknown[] | { readonly [key: string]: unknown }

/** A message to be kept. */
export interface NewHistoryMessage {
  readonly role: HistoryRole
  readonly content: HistoryContent
  /**
   * The task it belongs to. A session keeps one message per task and role, whatever is retried; those without a task are
   * kept each time they are appended.
   */
  readonly messageId?: string | undefined
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
  /** Unix ms. Default the time at which the store takes it, by the store's clock. */
  readonly createdAt?: number | undefined
  /**
   * The number of the attempt that says it; it only grows. A message of an attempt that came after another one for the
   * same task replaces that one's, and a message of an attempt that came before is refused in silence. Default 0.
   */
  readonly fencingToken?: number | undefined
}

/** A message as a history gives it back. */
export interface HistoryMessage {
  /** Its place in the session: give it as `before` to read what was said earlier. Opaque, and other in each store. */
  readonly id: string
  readonly sessionId: string
  readonly role: HistoryRole
  readonly content: HistoryContent
  /** '' if it belongs to no task. */
  readonly messageId: string
  readonly metadata: Readonly<Record<string, unknown>>
  /** Unix ms. */
  readonly createdAt: number
  readonly fencingToken: number
}

/** Which part of a session's messages is wanted. */
export interface HistoryPage {
  /** At most so many, the newest ones. Default 50, at most 1,000. */
  readonly limit?: number | undefined
  /** Only what comes before the message with this `id`. */
  readonly before?: string | undefined
}

/**
 * Where the messages of sessions are kept. The order of a session is that of `createdAt`, then that of arrival.
 *
 * Rules for implementations:
 * - One message per session, `messageId` and `role`; appending again replaces it in its place, unless a message of that
 *   `messageId` with a larger `fencingToken` is there, in whatever role: then nothing changes.
 * - A `content` of '' takes back what an earlier attempt has said: it is not listed.
 * - `append` resolves when the messages are kept, all or none. One that keeps them at once answers nothing, and costs the
 *   task no turn of the event loop.
 * - A refusal that will not change however often it is tried is a GatewayError `GW_INVALID_ARGUMENT`; all else is taken
 *   for trouble that will pass.
 */
export interface HistoryStore {
  /** Tells one store from another, where messages for several wait in one Redis. Default `default`. */
  readonly name?: string | undefined
  /**
   * True if it lives in this process alone, so that others cannot read or clear it; then it is never down, and what it does not
   * take is lost. Default false.
   */
  readonly isLocal?: boolean | undefined
  append(sessionId: string, messages: readonly NewHistoryMessage[]): Promise<void> | void
  /** The newest messages, or the newest before a given one; oldest first. A worker hands in a page, be it an empty one. */
  list(sessionId: string, page?: HistoryPage): Promise<readonly HistoryMessage[]>
  /** Forgets all messages of a session. */
  clear(sessionId: string): Promise<void>
  /** Frees what the store has opened. Whoever made a store closes it. */
  close(): Promise<void>
}
