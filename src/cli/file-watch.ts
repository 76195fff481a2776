import path from 'node:path'
import type { FSWatcher } from 'chokidar'
import { leadsBack } from '../util/leads-back.ts'
import { isPartOf } from './json-imports.ts'

/** What a worker is made of; logs, data and its own output are not. */
const CODE = ['.ts', '.mts', '.cts', '.tsx', '.js', '.mjs', '.cjs']
/** Either: see {@link isPartOf}. */
const JSON_FILE = '.json'

/** An editor writes in several steps, and a checkout many files; all of it is one change. */
const QUIET_MS = 100

/** Watches the code in a folder and below it, and the JSON that it imports, but for packages and hidden folders. */
export class FileWatch implements AsyncDisposable {
  readonly #folder: string
  readonly #watcher: FSWatcher
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  private constructor(folder: string, watcher: FSWatcher, onChange: (file: string) => void) {
    this.#folder = folder
    this.#watcher = watcher
    watcher.on('all', (_event, file) => void this.#hear(file, onChange))
  }

  async #hear(file: string, onChange: (file: string) => void): Promise<void> {
    // Folders and sockets are told as well; those of a task's workspace come and go with it.
    const isPart = path.extname(file) === JSON_FILE ? await this.#isImported(file) : isCode(file)
    if (!isPart) return
    clearTimeout(this.#timer)
    if (!this.#isClosed) this.#timer = setTimeout(() => onChange(file), QUIET_MS)
  }

  #isImported(file: string): Promise<boolean> {
    const folders = Object.entries(this.#watcher.getWatched())
    const files = folders.flatMap(([folder, names]) => names.map((name) => path.resolve(this.#folder, folder, name)))
    return isPartOf(path.resolve(this.#folder, file), files.filter(isCode))
  }

  /**
   * Resolves when no change is missed any more.
   *
   * @param except - A folder that somebody else looks after.
   */
  static async on(
    folder: string,
    { onChange, onError }: { onChange: (file: string) => void; onError: (error: unknown) => void },
    except?: string,
  ): Promise<FileWatch> {
    const { watch } = await import('chokidar')
    const watcher = watch(folder, {
      cwd: folder,
      ignoreInitial: true,
      ignored: (file, stats) =>
        path.resolve(folder, file) === except ||
        isHidden(path.relative(folder, file)) ||
        leadsBack(path.resolve(folder, file)) !== undefined ||
        (stats?.isFile() === true && !isCode(file) && path.extname(file) !== JSON_FILE),
    })
    // What cannot be watched is not heard of; to end the worker for that would be worse.
    watcher.on('error', onError)
    await new Promise<void>((resolve) => watcher.once('ready', () => resolve()))
    return new FileWatch(folder, watcher, onChange)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.#watcher.close()
  }
}

function isHidden(file: string): boolean {
  return file.split(path.sep).some((part) => part === 'node_modules' || /^\.[^.]/.test(part))
}

function isCode(file: string): boolean {
  return CODE.includes(path.extname(file))
}
