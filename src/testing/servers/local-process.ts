import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeDetachable } from '../../util/detachable.ts'
import { DeathGuard } from './death-guard.ts'
import { findFreePort } from './free-port.ts'
import { type LocalServer, LocalServerError, type ServerSource } from './local-server.ts'
import { ServerProcess } from './server-process.ts'
import type { Launch, ServerRecipe } from './server-recipe.ts'

const PORT_ATTEMPTS = 10
const SAME_PORT_RETRY_MS = 100

/** A program found on this machine, and how to run it. */
export interface LocalProcessOptions {
  readonly recipe: ServerRecipe
  readonly binary: string
  readonly source: ServerSource
  readonly env: NodeJS.ProcessEnv
  readonly args: readonly string[]
  /** The port asked for; undefined: any. */
  readonly port: number | undefined
  readonly startTimeoutMs: number
}

/** Starts the program in a private folder that goes when the server is stopped or this process ends. */
export async function startLocalProcess(options: LocalProcessOptions): Promise<LocalServer> {
  const { recipe, binary, env, args } = options
  const account = await recipe.account()
  const folder = await mkdtemp(join(tmpdir(), `byclaw-${recipe.name.toLowerCase()}-`))
  const guard = await DeathGuard.post({ folder, dieSignal: recipe.dieSignal, env })
  const launch: Launch = { binary, folder, env, args, account }
  const child = new ServerProcess(recipe, launch, (pid) => guard.watch(pid))
  try {
    await recipe.prepare(launch)
    const port = await startOnFreePort(child, options)
    return new LocalProcess({ ...options, launch, guard, child, port })
  } catch (error) {
    await clear(child, recipe, guard, folder)
    throw error
  }
}

async function startOnFreePort(child: ServerProcess, options: LocalProcessOptions): Promise<number> {
  for (let attempt = 0; attempt < PORT_ATTEMPTS; attempt += 1) {
    const port = options.port ?? (await findFreePort())
    if ((await child.start(port, options.startTimeoutMs)) === 'ready') return port
    if (options.port !== undefined) throw new LocalServerError(`${options.recipe.name}: port ${port} is already in use`)
  }
  throw new LocalServerError(`${options.recipe.name}: ${PORT_ATTEMPTS} free ports in a row were taken by others`)
}

async function clear(child: ServerProcess, recipe: ServerRecipe, guard: DeathGuard, folder: string): Promise<void> {
  await child.end(recipe.dieSignal)
  await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  await guard.dismiss()
}

interface RunningProcess extends LocalProcessOptions {
  readonly launch: Launch
  readonly guard: DeathGuard
  readonly child: ServerProcess
  readonly port: number
}

/** A running server; restarts and the stop happen one after another, in the order in which they were asked for. */
class LocalProcess implements LocalServer {
  readonly url: string
  readonly port: number
  readonly source: ServerSource
  readonly folder: string
  readonly #running: RunningProcess
  readonly #onExit = () => this.#running.child.kill(this.#running.recipe.dieSignal)
  #last: Promise<void> = Promise.resolve()
  #stopped: Promise<void> | undefined

  constructor(running: RunningProcess) {
    this.#running = running
    this.url = running.recipe.url('127.0.0.1', running.port)
    this.port = running.port
    this.source = running.source
    this.folder = running.launch.folder
    makeDetachable<LocalServer>(this, 'stop', 'kill', 'restart')
    // One listener per server is no leak, so the limit at which Node warns of one moves along.
    process.setMaxListeners(process.getMaxListeners() + 1)
    process.once('exit', this.#onExit)
  }

  get pid(): number | undefined {
    return this.#running.child.pid
  }

  kill(signal: NodeJS.Signals): void {
    this.#running.child.kill(signal)
  }

  restart(): Promise<void> {
    if (this.#stopped !== undefined) {
      return Promise.reject(new LocalServerError(`${this.#running.recipe.name}: a stopped server cannot be restarted`))
    }
    return this.#inTurn(() => this.#restart())
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#inTurn(() => this.#stop())
    return this.#stopped
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #inTurn(action: () => Promise<void>): Promise<void> {
    // A failed turn is the affair of the one who asked for it; the next one comes all the same.
    const turn = this.#last.then(action, action)
    this.#last = turn
    return turn
  }

  async #restart(): Promise<void> {
    const { child, recipe, startTimeoutMs } = this.#running
    await child.end(recipe.stopSignal)
    const deadline = performance.now() + startTimeoutMs
    while ((await child.start(this.port, startTimeoutMs)) === 'port-taken') {
      if (performance.now() > deadline)
        throw new LocalServerError(`${recipe.name}: port ${this.port} was taken by another`)
      await sleep(SAME_PORT_RETRY_MS)
    }
  }

  async #stop(): Promise<void> {
    const { child, recipe, guard } = this.#running
    process.off('exit', this.#onExit)
    process.setMaxListeners(process.getMaxListeners() - 1)
    await clear(child, recipe, guard, this.folder)
  }
}
