import type { Hook } from './hook.ts'

/** Events that a task keeps for hooks which are slower than it. */
const MOST_WAITING = 1_000

/** An event, and those who are to hear of it. */
interface Told<Event extends object> {
  readonly hooks: readonly Hook<Event>[]
  readonly event: Event
}

/**
 * What one task tells its plugins, one event after the other: each goes from hook to hook, and the next follows when the
 * last of them is done. As long as no hook waits for anything all of it happens at once.
 */
export class HookLine {
  readonly #waiting: (() => Promise<void> | undefined)[] = []
  #busy = false
  #whenIdle: (() => void) | undefined

  /** @param isLast - Told even if hooks are far behind. */
  tell<Event extends object>(hooks: readonly Hook<Event>[], event: Event, isLast = false): void {
    if (hooks.length === 0) return
    const told = { hooks, event }
    if (this.#busy) this.#queue(told, isLast)
    else {
      const slow = run(told, 0)
      if (slow !== undefined) void this.#goOn(slow)
    }
  }

  /** Calls back, once, when all has been told. */
  whenIdle(callback: () => void): void {
    if (this.#busy) this.#whenIdle = callback
    else callback()
  }

  #queue<Event extends object>(told: Told<Event>, isLast: boolean): void {
    if (isLast || this.#waiting.length < MOST_WAITING) this.#waiting.push(() => run(told, 0))
    else for (const hook of told.hooks) hook.skip()
  }

  async #goOn(slow: Promise<void>): Promise<void> {
    this.#busy = true
    await slow
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) await next()
    this.#busy = false
    this.#whenIdle?.()
  }
}

function run<Event extends object>(told: Told<Event>, from: number): Promise<void> | undefined {
  const { hooks, event } = told
  for (let index = from; index < hooks.length; index += 1) {
    const slow = hooks[index]?.call(event)
    if (slow !== undefined) return rest(slow, told, index + 1)
  }
  return undefined
}

async function rest<Event extends object>(slow: Promise<void>, told: Told<Event>, from: number): Promise<void> {
  await slow
  await run(told, from)
}
