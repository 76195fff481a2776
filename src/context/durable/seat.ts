/** A task's place among those that run; given back while the task waits for others. */
export interface Seat {
  leave(): void
  /** Resolves when there is a place again. */
  reenter(): Promise<void>
}

/** A place that nobody counts. */
export const NO_SEAT: Seat = { leave: () => undefined, reenter: () => Promise.resolve() }
