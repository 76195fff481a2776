import type { TaskRef } from '../protocol/ids.ts'
import { EndWait } from './end-wait.ts'
import { checkSubscribe, type SubscribeOptions } from './subscribe-options.ts'
import { Subscription, type SubscriptionResources } from './subscription.ts'

/** What a client has open: its subscriptions, and those who wait for ends. */
export class Subscriptions {
  readonly #resources: SubscriptionResources
  readonly #requireOpen: () => void
  readonly #open = new Set<Subscription | EndWait>()

  /** `requireOpen` throws once the client is closed. */
  constructor(resources: SubscriptionResources, requireOpen: () => void) {
    this.#resources = resources
    this.#requireOpen = requireOpen
  }

  /** @throws GatewayError `GW_INVALID_ARGUMENT` for a bad session, message or event id. */
  follow(sessionId: string, options: SubscribeOptions): Subscription {
    this.#requireOpen()
    checkSubscribe(sessionId, options)
    return this.#add(new Subscription(this.#resources, sessionId, options))
  }

  /** Waits for the end of a task, until `signal` aborts. */
  awaitEnd(ref: TaskRef, signal: AbortSignal): EndWait {
    this.#requireOpen()
    return this.#add(new EndWait(this.#resources, ref, signal))
  }

  #add<Opened extends Subscription | EndWait>(opened: Opened): Opened {
    this.#open.add(opened)
    void opened.ended.then(() => this.#open.delete(opened))
    return opened
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map((opened) => opened.return()))
    this.#resources.feeds.close()
  }
}
