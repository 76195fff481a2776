import type { Journal } from './journal.ts'
import type { Results } from './results.ts'

/** With which plugins a task has left, as it stands in its journal. */
interface NotedPlugins {
  /** Those of the last time, as JSON; undefined if that was never noted. */
  readonly versions: string | undefined
  /** How often it was noted. */
  readonly count: number
}

export function notedPlugins(journal: Journal): NotedPlugins {
  let count = 0
  while (journal.result(keyOf(count)) !== undefined) count += 1
  const last = journal.result(keyOf(count - 1))?.value
  return { versions: typeof last === 'string' ? last : undefined, count }
}

/** Notes with which plugins a task leaves, so that it can be told when it comes back to others. */
export class PluginNotes {
  readonly #journal: Journal
  readonly #results: Results
  #noted: NotedPlugins | undefined

  constructor(journal: Journal, results: Results) {
    this.#journal = journal
    this.#results = results
  }

  async note(versions: string): Promise<void> {
    this.#noted ??= notedPlugins(this.#journal)
    const { versions: before, count } = this.#noted
    if (before === versions) return
    const json = JSON.stringify({ k: 'plugins', m: '', h: '', a: '' })
    await this.#results.note({ key: keyOf(count), entry: undefined, result: undefined, json }, versions)
    this.#noted = { versions, count: count + 1 }
  }
}

/** No operation has such a key. */
function keyOf(number: number): string {
  return `plugins#${number}`
}
