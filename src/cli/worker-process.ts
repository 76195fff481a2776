import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Deferred, deferred } from '../util/deferred.ts'
import { EXIT } from './failure.ts'
import { STOPPING } from './signal-watch.ts'

/** A worker that has not heard its signal after so long computes without end: it is ended by force. */
const DEAF_MS = 5_000

/**
 * A worker in a child process that is run anew on every change.
 *
 * States: `running` → `restarting` (told to stop because of a change) → `running`; `running` → `waiting` (it ended by
 * itself, a change may mend it) → `running`; from all of them → `stopping` on a signal, which is the end.
 */
export class WorkerProcess {
  readonly #args: readonly string[]
  readonly #say: (text: string) => void
  #child: ChildProcess | undefined
  #change: Deferred<void> | undefined
  /** Runs from a signal until the worker has heard it. */
  #deaf: NodeJS.Timeout | undefined
  #changed = false
  #stopping = false

  /** @param args - Node's arguments: the program and its own. */
  constructor(args: readonly string[], say: (text: string) => void) {
    this.#args = args
    this.#say = say
  }

  /** Runs the worker until it is told to stop, or refuses its command line; answers its exit code. */
  async run(): Promise<number> {
    let code = 0
    while (!this.#stopping) {
      this.#changed = false
      code = await this.#runOnce()
      if (code === EXIT.usage) return code
      if (!this.#changed && !this.#stopping) await this.#wait(code)
    }
    return code
  }

  /** Told of a change: the running worker drains and ends, then the next one starts. */
  restart(file: string): void {
    if (this.#changed || this.#stopping) return
    this.#changed = true
    this.#say(`${file} changed, starting the worker anew`)
    this.#signal()
    this.#change?.resolve()
  }

  /** Told to stop; told again, the worker ends at once. */
  stop(): void {
    // One that stops for a change would take this for the second time.
    if (this.#stopping || !this.#changed) this.#signal()
    this.#stopping = true
    this.#change?.resolve()
  }

  #signal(): void {
    const child = this.#child
    if (child === undefined) return
    child.kill('SIGTERM')
    this.#deaf ??= setTimeout(() => {
      this.#say('the worker does not hear that it is to stop, ending it by force')
      child.kill('SIGKILL')
    }, DEAF_MS)
  }

  #heard(): void {
    clearTimeout(this.#deaf)
    this.#deaf = undefined
  }

  async #runOnce(): Promise<number> {
    const child = spawn(process.execPath, [...process.execArgv, ...this.#args], {
      // A channel tells the child when this process is gone; a group of its own keeps Ctrl-C from reaching it twice.
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
      detached: true,
    })
    this.#child = child
    child.on('message', (message) => message === STOPPING && this.#heard())
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    this.#child = undefined
    this.#heard()
    if (code !== null) return code
    // A stop that came before the worker had its handlers is a stop as well.
    return signal === 'SIGTERM' && (this.#stopping || this.#changed) ? 0 : EXIT.failure
  }

  async #wait(code: number): Promise<void> {
    this.#say(`the worker has ended (exit code ${code}), waiting for a change`)
    this.#change = deferred()
    await this.#change.promise
    this.#change = undefined
  }
}
