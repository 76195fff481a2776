import { GatewayError } from '../errors.ts'
import type { SessionEvent } from '../protocol/event.ts'
import { checkRef, idFault, newMessageId, type TaskRef } from '../protocol/ids.ts'
import type { TaskRecords } from '../store/task-records.ts'
import { begun, checkCallback } from './callback.ts'
import { EndWait } from './end-wait.ts'
import type { SendContractRequest, SendMessageRequest } from './request.ts'
import type { Sender } from './sender.ts'
import type { Subscription } from './subscription.ts'
import type { Subscriptions } from './subscriptions.ts'
import { isEnd, type TaskResult, toResult } from './task-result.ts'
import { withinTime } from './time-limit.ts'

export interface ResultOptions extends TaskRef {
  /** How long to wait, in ms. Default for ever. */
  readonly timeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** What an ask may do besides sending. */
export interface AskOptions {
  /**
   * Called with each event of the task, in order. A promise that it answers is waited for before the next call; what it throws, or
   * that rejects with, rejects the ask, and the task goes on.
   */
  readonly onEvent?: ((event: SessionEvent) => void) | undefined
  /** How long to wait for the end, in ms; the task goes on. Default for ever. */
  readonly timeoutMs?: number | undefined
  /** An attempt that runs longer is aborted and fails, in ms: what `timeoutMs` is to `sendMessage`. */
  readonly taskTimeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** Waits for the ends of tasks. */
export class Results {
  readonly #records: TaskRecords
  readonly #subscriptions: Subscriptions
  readonly #sender: Sender
  readonly #requireOpen: () => void

  constructor(options: {
    records: TaskRecords
    subscriptions: Subscriptions
    sender: Sender
    /** Throws once the client is closed. */
    requireOpen: () => void
  }) {
    this.#records = options.records
    this.#subscriptions = options.subscriptions
    this.#sender = options.sender
    this.#requireOpen = options.requireOpen
  }

  /** The end of a task that was sent before. */
  async wait<Data>({ sessionId, messageId, ...limits }: ResultOptions): Promise<TaskResult<Data>> {
    const ref = checkRef({ sessionId, messageId })
    return withinTime(`the end of ${messageId}`, limits, async (signal) => {
      for (;;) {
        const end = this.#subscriptions.awaitEnd(ref, signal)
        try {
          await end.came()
          signal.throwIfAborted()
          const result = await this.#read<Data>(ref)
          if (result !== undefined) return result
        } finally {
          await end.return()
        }
      }
    })
  }

  /** Sends a message and waits for the end of its task. */
  async ask(request: (SendMessageRequest | SendContractRequest) & AskOptions): Promise<TaskResult> {
    const { onEvent, timeoutMs, taskTimeoutMs, signal: callers, ...message } = request
    checkCallback('onEvent', onEvent)
    const { sessionId, messageId = newMessageId() } = message
    const isKnown = message.messageId !== undefined
    return withinTime(`the end of ${messageId}`, { timeoutMs, signal: callers }, async (signal) => {
      let ref = { sessionId, messageId }
      // Before the send, so that not even the first event has to be looked up. A message id of the caller's may have
      // been sent earlier: then its events begin earlier too.
      let after = isKnown ? undefined : '$'
      const open = () =>
        onEvent === undefined
          ? this.#subscriptions.awaitEnd(ref, signal)
          : this.#subscriptions.follow(sessionId, { messageId: ref.messageId, after, signal })
      let opened = idFault(sessionId) === null && !isKnown ? open() : undefined
      try {
        const sent = await this.#sender.send(
          { ...message, messageId, timeoutMs: taskTimeoutMs } as SendMessageRequest,
          signal,
        )
        if (!sent.success) throw new GatewayError('GW_SEND_REFUSED', { status: sent.status, ...sent.error })
        if (sent.messageId !== messageId) {
          // An interceptor has answered in its place, with a task that was sent earlier.
          await opened?.return()
          opened = undefined
          ref = { sessionId, messageId: sent.messageId }
          after = undefined
        }
        for (;;) {
          opened ??= open()
          opened.expectTask()
          if (opened instanceof EndWait) await opened.came()
          else after = (await hearAll(opened, onEvent, signal)) ?? after
          signal.throwIfAborted()
          const result = await this.#read(ref)
          if (result !== undefined) return result
          await opened.return()
          opened = undefined
        }
      } finally {
        await opened?.return()
      }
    })
  }

  /** The result of a task that has ended; undefined if it lives again, as a dead letter does that was redriven meanwhile. */
  async #read<Data>(ref: TaskRef): Promise<TaskResult<Data> | undefined> {
    this.#requireOpen()
    const end = await this.#records.getEnd(ref)
    if (isEnd(end)) return toResult<Data>(end)
    if (end !== null) return undefined
    throw new GatewayError('GW_RESULT_GONE', { messageId: ref.messageId })
  }
}

/** Hands each event on, in order; resolves after the last, with its id if there was one. */
async function hearAll(
  events: Subscription,
  onEvent: AskOptions['onEvent'],
  signal: AbortSignal,
): Promise<string | undefined> {
  let lastId: string | undefined
  for await (const event of events) {
    lastId = event.id
    const busy = begun(onEvent?.(event), signal)
    if (busy !== undefined) await busy
  }
  return lastId
}
