import { Worker } from 'node:worker_threads'
import { ownFile } from '../util/own-file.ts'
import type { LeaseLoopData } from './lease-loop.ts'
import type { LeaseMessage, LeaseOrder } from './lease-thread.ts'

/** A thread that nobody needs is kept so long for the next who does: its start is the slowest part of a worker's. */
const LINGER_MS = 5_000

/** What is heard of a loop. */
export interface LoopListener {
  onMessage(message: LeaseMessage): void
  /** The thread has failed, and the loop with it. */
  onError(error: Error): void
}

/** A place in the thread for one loop. */
export interface LoopPlace {
  /** @throws what the copy of `data` throws. */
  run(data: LeaseLoopData): void
  /** Asks the loop to end; its last message is `ended`. */
  stop(): void
  /** To be called when it has ended, or has not in good time. */
  leave(): void
}

/**
 * The thread of a process that runs the lease loops of all its workers. It is there as long as there are any, and a little
 * longer, when it no longer keeps the process alive.
 */
export class LeaseHost {
  readonly #listeners = new Map<number, LoopListener>()
  #thread: Worker | undefined
  #lingering: NodeJS.Timeout | undefined
  #last = 0

  /** @throws what the start of a thread throws. */
  join(listener: LoopListener): LoopPlace {
    const thread = this.#thread ?? this.#open()
    clearTimeout(this.#lingering)
    thread.ref()
    this.#last += 1
    const loop = this.#last
    this.#listeners.set(loop, listener)
    const order = (given: LeaseOrder) => thread.postMessage(given)
    order({ kind: 'join', loop })
    return {
      run: (data) => order({ kind: 'run', loop, data }),
      stop: () => order({ kind: 'stop', loop }),
      leave: () => {
        this.#listeners.delete(loop)
        if (this.#listeners.size === 0 && this.#thread === thread) this.#linger(thread)
      },
    }
  }

  #linger(thread: Worker): void {
    thread.unref()
    this.#lingering = setTimeout(() => {
      this.#thread = undefined
      void thread.terminate()
    }, LINGER_MS)
    this.#lingering.unref()
  }

  #open(): Worker {
    const thread = openThread()
    thread.on('message', (message: LeaseMessage) => this.#listeners.get(message.loop)?.onMessage(message))
    thread.on('error', (error) => {
      if (this.#thread !== thread) return
      this.#thread = undefined
      const listeners = [...this.#listeners.values()]
      this.#listeners.clear()
      for (const listener of listeners) listener.onError(error)
    })
    this.#thread = thread
    return thread
  }
}

function openThread(): Worker {
  const file = ownFile('worker/lease-thread')
  if (file.pathname.endsWith('.js')) return new Worker(file, isMainAText() ? { execArgv: [] } : {})
  // Source that runs without a build step (tests, development) needs its loader in the thread, too.
  const name = JSON.stringify(file.href)
  const load = `import('tsx/esm/api').then(({ tsImport }) => tsImport(${name}, ${name}))`
  return new Worker(load, { eval: true })
}

/** Node's options say then how to read the main program, from `--eval` or stdin; a thread that inherits them takes no file. */
function isMainAText(): boolean {
  return process.execArgv.some((option) => option.startsWith('--input-type'))
}
