import type { NewHistoryMessage } from '../agent/history.ts'

/** Messages of one session, on the way to a history together. */
export class Parcel {
  readonly sessionId: string
  readonly messages: NewHistoryMessage[]
  #isClosed = false

  constructor(sessionId: string, message: NewHistoryMessage) {
    this.sessionId = sessionId
    this.messages = [message]
  }

  /** Puts another message in; false when the parcel is under way already. */
  add(message: NewHistoryMessage): boolean {
    if (this.#isClosed) return false
    this.messages.push(message)
    return true
  }

  /** From now on it is under way. */
  close(): void {
    this.#isClosed = true
  }
}
