import type { Retention } from './data-streams.ts'

/** What the workers do unless told otherwise, for those who look after what workers have left; a test compares the two. */
export const DEFAULT_GROUP = 'agent_engines'
export const DEFAULT_LEASE_MS = 5_000
export const DEFAULT_RETENTION: Retention = {
  resultTtlMs: 86_400_000,
  streamTtlMs: 86_400_000,
  streamMaxLength: 200_000,
}
