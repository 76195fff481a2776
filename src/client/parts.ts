import type { HistoryStore } from '../agent/history.ts'
import { Asks } from '../dispatch/asks.ts'
import { Canceller } from '../dispatch/canceller.ts'
import { Replicas } from '../dispatch/replicas.ts'
import { Dispatcher } from '../dispatch/send.ts'
import { RedisConnections } from '../redis/connections.ts'
import { DeadLetterOffice } from './dead-letter-office.ts'
import { aroundSend } from './interceptors.ts'
import { type GatewayClientOptions, type ResolvedClientOptions, resolveClientOptions } from './options.ts'
import { PluginOffice } from './plugin-office.ts'
import { Results } from './results.ts'
import { type AnyRequest, Sender } from './sender.ts'
import { SessionDeletion } from './session-deletion.ts'
import { SessionFeeds } from './session-feeds.ts'
import { type ClientStores, openStores } from './stores.ts'
import { Subscriptions } from './subscriptions.ts'

/** What a client is made of: each part does what some of its methods promise. */
export interface ClientParts {
  readonly connections: RedisConnections
  readonly stores: ClientStores
  readonly sender: Sender
  readonly subscriptions: Subscriptions
  readonly results: Results
  readonly canceller: Canceller
  readonly asks: Asks
  readonly deadLetters: DeadLetterOffice
  readonly plugins: PluginOffice
  readonly history: HistoryStore | undefined
  readonly deletion: SessionDeletion
}

/** What the parts ask of their client. */
interface Face {
  /** Throws once the client is closed. */
  readonly requireOpen: () => void
  /** Makes a request plain. */
  readonly prepare: (request: AnyRequest) => AnyRequest
}

/**
 * Makes the parts; nothing is connected yet.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the option.
 */
export function openParts(options: GatewayClientOptions, { requireOpen, prepare }: Face): ClientParts {
  const resolved = resolveClientOptions(options)
  const { redis, maxPayloadBytes, logger, maxQueueLength, whenFull, queueTimeoutMs, interceptors, history } = resolved
  const connections = new RedisConnections(redis, logger)
  const { isCluster } = connections
  const stores = openStores(connections.client('prompt'), resolved)
  const { records, reader, presence, keys } = stores
  const canceller = new Canceller({ ...stores, logger })
  const sender = new Sender({
    dispatcher: new Dispatcher({ ...stores, maxPayloadBytes, isCluster, logger }),
    canceller,
    openReplicated: isCluster ? undefined : () => openReplicated(connections, resolved),
    limit: { maxQueueLength, whenFull, queueTimeoutMs },
    prepare,
    around: aroundSend(interceptors),
  })
  const subscriptions = new Subscriptions(
    { feeds: new SessionFeeds(connections, reader, logger), reader, records },
    requireOpen,
  )
  const deadLetters = new DeadLetterOffice(stores.redis, keys, maxPayloadBytes)
  return {
    ...{ connections, stores, sender, subscriptions, canceller, deadLetters, history },
    results: new Results({ records, subscriptions, sender, requireOpen }),
    asks: new Asks({ ...stores, maxBytes: maxPayloadBytes }),
    plugins: new PluginOffice(stores.redis, keys, presence),
    deletion: new SessionDeletion({ ...stores, canceller, deadLetters, history }),
  }
}

/** Who waits for replicas holds up what is sent behind it, so such sends have a connection of their own. */
function openReplicated(connections: RedisConnections, resolved: ResolvedClientOptions) {
  const stores = openStores(connections.client('prompt', 'replicated'), resolved)
  const { maxPayloadBytes, logger } = resolved
  const dispatcher = new Dispatcher({ ...stores, maxPayloadBytes, isCluster: connections.isCluster, logger })
  return { dispatcher, replicas: new Replicas(stores.redis) }
}
