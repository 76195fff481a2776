import type { ChildProcess } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Worker } from 'node:worker_threads'

// Requests and callbacks under way end by themselves; a child process is watched by name below.
const PASSING = /Req$|Req[A-Z]|^ConnectWrap$|^WriteWrap$|^ShutdownWrap$|^Immediate$|^ProcessWrap$/

/**
 * Watches what keeps a process busy. Sockets, servers, pipes, ports, watchers and timers are counted by what Node itself
 * reports as active; child processes and worker threads are followed from birth to end, since Node reports neither
 * the unref'ed ones nor any thread. A thread that was let go (`unref`) ends with the process, so it counts as ended.
 */
export class OpenResources {
  readonly #before = countActive()
  readonly #children = new Set<ChildProcess>()
  readonly #threads = new Set<Worker>()

  constructor() {
    subscribe('child_process', this.#onChild)
    process.on('worker', this.#onThread)
  }

  /** What is open now and was not when the watch began, in words; empty: nothing. */
  list(): string[] {
    const counted = [...countActive()].flatMap(([kind, count]) => {
      const more = count - (this.#before.get(kind) ?? 0)
      return more > 0 ? [`${more} × ${kind}`] : []
    })
    const children = [...this.#children]
      .filter(isRunning)
      .map((child) => `child process ${child.pid} (${child.spawnfile})`)
    const threads = [...this.#threads].map((thread) => `worker thread ${thread.threadId}`)
    return [...counted, ...children, ...threads]
  }

  close(): void {
    unsubscribe('child_process', this.#onChild)
    process.off('worker', this.#onThread)
  }

  readonly #onChild = (message: unknown): void => {
    const { process: child } = message as { process: ChildProcess }
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
  }

  readonly #onThread = (thread: Worker): void => {
    this.#threads.add(thread)
    thread.once('exit', () => this.#threads.delete(thread))
    const { ref, unref } = thread
    thread.ref = () => {
      this.#threads.add(thread)
      ref.call(thread)
    }
    thread.unref = () => {
      this.#threads.delete(thread)
      unref.call(thread)
    }
  }
}

/** A child that could not be spawned has no pid and never exits. */
function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null
}

function countActive(): Map<string, number> {
  const counts = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) {
    if (!PASSING.test(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  }
  return counts
}
