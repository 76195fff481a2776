import path from 'node:path'
import type { FSWatcher } from 'chokidar'
import { leadsBack } from '../util/leads-back.ts'

/** What a worker is made of; logs, data and its own output are not. */
const CODE = ['.ts', '.mts', '.cts', '.tsx', '.js', '.mjs', '.cjs', '.json']

/** An editor writes in several steps, and a checkout many files; all of it is one change. */
const QUIET_MS = 100

/** Watches the code in a folder and below it, but for packages and hidden folders. */
export class FileWatch implements AsyncDisposable {
  readonly #watcher: FSWatcher
  #timer: NodeJS.Timeout | undefined

  private constructor(watcher: FSWatcher, onChange: (file: string) => void) {
    this.#watcher = watcher
    watcher.on('all', (_event, file) => {
      clearTimeout(this.#timer)
      this.#timer = setTimeout(() => onChange(file), QUIET_MS)
    })
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
        (stats?.isFile() === true && !isCode(file)),
    })
    // What cannot be watched is not heard of; to end the worker for that would be worse.
    watcher.on('error', onError)
    await new Promise<void>((resolve) => watcher.once('ready', () => resolve()))
    return new FileWatch(watcher, onChange)
  }

  async [Symbol.asyncDispose](): Promise<void> {
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
