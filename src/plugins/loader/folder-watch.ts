import path from 'node:path'
import type { FSWatcher } from 'chokidar'
import { leadsBack } from '../../util/leads-back.ts'
import { isPassing } from './plugin-files.ts'

/**
 * Hears of changes in folders, and in single files elsewhere. What it says is a hint that somebody should look: where the
 * system reports no changes (network folders, some containers) it says nothing at all.
 */
export class FolderWatch implements AsyncDisposable {
  readonly #watcher: FSWatcher
  readonly #roots: readonly string[]
  readonly #others = new Set<string>()

  private constructor(watcher: FSWatcher, roots: readonly string[]) {
    this.#watcher = watcher
    this.#roots = roots
  }

  /** Resolves when no change is missed any more; a little too soon if one of several roots cannot be watched. */
  static async on(
    roots: readonly string[],
    listeners: { readonly onChange: (file: string) => void; readonly onError: (error: unknown) => void },
  ): Promise<FolderWatch> {
    const { watch } = await import('chokidar')
    const watcher = watch([...roots], { ignoreInitial: true, ignored: (file) => isIgnored(roots, file) })
    watcher.on('error', listeners.onError)
    watcher.on('all', (_event, file) => listeners.onChange(file))
    // A folder that cannot be watched is an error beforehand, and what can be is watched all the same.
    await new Promise<void>((resolve) => watcher.once('ready', () => resolve()))
    return new FolderWatch(watcher, roots)
  }

  /** Watches these files, too, as far as they lie elsewhere; and no others any more. */
  alsoWatch(files: Iterable<string>): void {
    const wanted = new Set([...files].filter((file) => !this.#roots.some((root) => isIn(root, file))))
    const added = [...wanted].filter((file) => !this.#others.has(file))
    const removed = [...this.#others].filter((file) => !wanted.has(file))
    if (added.length > 0) this.#watcher.add(added)
    if (removed.length > 0) this.#watcher.unwatch(removed)
    for (const file of added) this.#others.add(file)
    for (const file of removed) this.#others.delete(file)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watcher.close()
  }
}

/** What is hidden below a root, and links that lead in circles; where the root itself lies does not matter. */
function isIgnored(roots: readonly string[], file: string): boolean {
  const root = roots.find((candidate) => isIn(candidate, file))
  if (root === undefined) return false
  return path.relative(root, file).split(path.sep).some(isPassing) || leadsBack(file) !== undefined
}

function isIn(root: string, file: string): boolean {
  return file.startsWith(root + path.sep)
}
