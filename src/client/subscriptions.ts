import { checkSubscribe, type SubscribeOptions } from './subscribe-options.ts'
import { Subscription, type SubscriptionResources } from './subscription.ts'

/** The subscriptions of a client that are open. */
export class Subscriptions {
  readonly #resources: SubscriptionResources
  readonly #requireOpen: () => void
  readonly #open = new Set<Subscription>()

  /** `requireOpen` throws once the client is closed. */
  constructor(resources: SubscriptionResources, requireOpen: () => void) {
    this.#resources = resources
    this.#requireOpen = requireOpen
  }

  /** @throws GatewayError `GW_INVALID_ARGUMENT` for a bad session, message or event id. */
  follow(sessionId: string, options: SubscribeOptions): Subscription {
    this.#requireOpen()
    checkSubscribe(sessionId, options)
    const subscription = new Subscription(this.#resources, sessionId, options)
    this.#open.add(subscription)
    void subscription.ended.then(() => this.#open.delete(subscription))
    return subscription
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map((subscription) => subscription.return()))
    this.#resources.feeds.close()
  }
}
