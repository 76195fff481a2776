import { GatewayClient } from 'byclaw-gateway-sdk'

/** What a canceller is told. */
export type CancelAnswer = { readonly status: string }

/** A client as far as cancelling is concerned; a build without cancellation has no such method. */
export interface Canceller {
  cancelTask?(options: {
    sessionId: string
    messageId: string
    reason?: string
    mode?: 'graceful' | 'force'
  }): Promise<CancelAnswer>
}

/**
 * True if the build under test can cancel, retry, delay, expire and prioritise; these came together. Without them the
 * workloads that need them are left out.
 */
export function hasLifecycle(): boolean {
  return typeof (GatewayClient.prototype as Canceller).cancelTask === 'function'
}
