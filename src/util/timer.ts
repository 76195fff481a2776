/** The longest time that a timer of Node can wait for, in ms; of a longer one it makes 1 ms. */
export const MOST_TIMER_MS = 2 ** 31 - 1
