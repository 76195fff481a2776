import { errorMessage, GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { isOfLostConnection } from '../redis/call-errors.ts'
import type { RedisClient } from '../redis/client.ts'
import { Keys } from '../redis/keys.ts'
import type { ResolvedRedis } from '../redis/options.ts'
import { ControlLeases } from '../store/control-leases.ts'
import { Presence, type WorkerIdentity } from '../store/presence.ts'
import { sleep } from '../util/sleep.ts'
import { LeaseTable } from './lease-table.ts'

/** What the loop needs, in a form that can be handed to another thread. */
export interface LeaseLoopData {
  readonly redis: ResolvedRedis
  readonly keyPrefix: string
  readonly group: string
  readonly identity: WorkerIdentity
  /** Unix ms by Redis' clock. */
  readonly startedAt: number
  /** Keys of the control streams; the table's stream indexes point into it. */
  readonly streamKeys: readonly string[]
  readonly table: SharedArrayBuffer
  readonly leaseMs: number
  readonly blockedAfterMs: number
}

/** Signs of life in a lease's time; one or two may fail without harm. */
export const BEATS_PER_LEASE = 4

/**
 * Keeps a worker alive in the eyes of others: renews the leases of what it runs and gives its sign of life, four times
 * in a lease. A main thread whose event loop has not turned for `blockedAfterMs` loses both all the same. `onLost` is
 * told when a lease is gone, taken over by others or with the server's data, of what still runs.
 *
 * Resolves when `signal` aborts. Rejects with `GW_WORKER_ID_TAKEN` when another process has taken the worker's id.
 */
export async function runLeaseLoop(
  data: LeaseLoopData,
  { client, logger, signal, onLost }: { client: RedisClient; logger: Logger; signal: AbortSignal; onLost: () => void },
): Promise<void> {
  const presence = new Presence(client, new Keys(data.keyPrefix))
  const leases = new ControlLeases(client, data.group, data.identity.workerId)
  const table = new LeaseTable(data.table)
  const isBlocked = blockedWatch(table, data.blockedAfterMs, logger)
  const isLost = lossWatch()
  let failing = false
  for (; !signal.aborted; await sleep(data.leaseMs / BEATS_PER_LEASE, signal)) {
    if (isBlocked()) continue
    try {
      const [, ...lost] = await Promise.all([
        presence.beat(data.identity, data.startedAt, table.running),
        ...[...table.entries()].map(([stream, ids]) => leases.renew(data.streamKeys[stream] as string, ids)),
      ])
      if (isLost(lost.flat())) onLost()
      failing = false
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof GatewayError && error.code === 'GW_WORKER_ID_TAKEN') throw error
      if (failing || isOfLostConnection(error)) continue
      failing = true
      logger.warn({ reason: errorMessage(error) }, 'renewing leases failed, trying again')
    }
  }
}

/** True if an entry is missed the second time: one that is missed once may have been acked just then. */
function lossWatch(): (missing: readonly string[]) => boolean {
  let before: ReadonlySet<string> = new Set()
  return (missing) => {
    const again = missing.some((id) => before.has(id))
    before = new Set(missing)
    return again
  }
}

function blockedWatch(table: LeaseTable, blockedAfterMs: number, logger: Logger): () => boolean {
  let pulse = table.pulse
  let since = performance.now()
  let told = false
  return () => {
    const now = performance.now()
    if (table.pulse !== pulse) {
      pulse = table.pulse
      since = now
      told = false
      return false
    }
    if (now - since < blockedAfterMs) return false
    if (!told) logger.error({ blockedMs: Math.round(now - since) }, 'the event loop is blocked, leases are not renewed')
    told = true
    return true
  }
}
