import type { Cluster, Redis } from 'ioredis'
import { onListener } from './listeners.ts'

/** Told of channels that the server does not let us hear again. */
type OnRefused = (channels: readonly string[], reason: string) => void

/** Hears what comes of the subscriptions that ioredis makes again by itself after a loss, which ioredis 6.0 does not. */
export function hearResubscriptions(redis: Redis | Cluster, onRefused: OnRefused): void {
  if ('nodes' in redis) onListener(redis, (listener) => hearSlotBySlot(listener, onRefused))
  else hearAllAtOnce(redis, onRefused)
}

/** All channels are asked for by one call, a list, whose rejection would end the process. */
function hearAllAtOnce(redis: Redis, onRefused: OnRefused): void {
  const subscribe = redis.subscribe.bind(redis) as (...channels: unknown[]) => Promise<unknown>
  redis.subscribe = (...channels: unknown[]) => {
    const answer = subscribe(...channels)
    const [all] = channels
    if (Array.isArray(all)) hearRefusal(answer, all, onRefused)
    return answer
  }
}

/** Of a Cluster a master is asked for the channels of a slot by one call; nobody else calls this. */
function hearSlotBySlot(listener: Redis, onRefused: OnRefused): void {
  const subscribe = listener.ssubscribe.bind(listener) as (...channels: unknown[]) => Promise<unknown>
  listener.ssubscribe = (...channels: unknown[]) => {
    const answer = subscribe(...channels)
    hearRefusal(answer, channels as string[], onRefused)
    return answer
  }
}

function hearRefusal(answer: Promise<unknown>, channels: readonly string[], onRefused: OnRefused): void {
  answer.catch((error: unknown) => {
    // A loss is told by the connection itself, and makes it subscribe once more.
    if (error instanceof Error && error.name === 'ReplyError') onRefused(channels, error.message)
  })
}
