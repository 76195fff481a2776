/** What the workers do unless told otherwise, for those who look after what workers have left; a test compares the two. */
export const DEFAULT_GROUP = 'agent_engines'
export const DEFAULT_LEASE_MS = 5_000
