import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, statSync } from 'node:fs'
import { open, readdir, rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import path from 'node:path'
import type { Logger } from '../logger.ts'
import { Service } from '../service.ts'
import { bootId, shortHash } from './kernel.ts'

const MARK = '.alive'
const MOST_RETRIES = 3

interface Home {
  readonly path: string
  /** Undefined where there can be none. */
  readonly mark?: Server
}

/**
 * Where the folders of a worker's tasks lie: in a home of its own below `workspaceDir`, made when the first task asks for
 * it and removed when the worker stops. At its start the worker removes the homes of those that were killed.
 *
 * Beside a home lies its mark, a socket at which its process listens. The kernel takes connections to it as long as
 * the process exists, be its event loop blocked or itself stopped, and refuses them from its end on: unlike a process id or a
 * time, that cannot be mistaken. It holds for who asks the same kernel through the same mounted file system, also
 * in another container; a home's name says both, and those of others are left alone. Where no mark can be, not on Linux
 * or on a file system without sockets, the tasks' folders lie in `workspaceDir` itself, and nobody removes them for the
 * dead.
 */
export class WorkspaceHome extends Service {
  readonly #parent: string
  readonly #logger: Logger
  #home: Home | undefined

  constructor(options: { workspaceDir: string; logger: Logger }) {
    super()
    this.#parent = path.resolve(options.workspaceDir)
    this.#logger = options.logger
  }

  /** The folder, which is there from now on. @throws what the file system throws. */
  get path(): string {
    this.#home ??= openHome(this.#parent)
    return this.#home.path
  }

  /** What others have left may take long to remove: nobody waits for it. */
  protected override onStart(): void {
    void this.#sweep()
  }

  protected override async onStop(): Promise<void> {
    if (this.#home?.mark === undefined) return
    const { path: folder, mark } = this.#home
    try {
      await removeHome(folder)
      mark.close()
    } catch (error) {
      this.#logger.debug({ err: error }, 'the folder of workspaces was not removed; a worker that starts later will')
    }
  }

  async #sweep(): Promise<void> {
    if (!existsSync(this.#parent)) return
    try {
      await using parent = await open(this.#parent)
      for (const name of await homesIn(this.#parent)) {
        if (this.isRunning && (await isDead(markIn(parent.fd, name)))) await this.#sweepAway(name)
      }
    } catch (error) {
      this.#logger.warn({ err: error }, 'the workspaces of killed workers were not looked for')
    }
  }

  async #sweepAway(name: string): Promise<void> {
    const folder = path.join(this.#parent, name)
    try {
      await removeHome(folder)
      this.#logger.info({ folder }, 'the workspaces of a killed worker are removed')
    } catch (error) {
      this.#logger.warn({ folder, err: error }, 'the workspaces of a killed worker were not removed')
    }
  }
}

function openHome(parent: string): Home {
  mkdirSync(parent, { recursive: true, mode: 0o700 })
  const vantage = vantageOf(parent)
  if (vantage === undefined) return { path: parent }
  const folder = path.join(parent, `${vantage}-${randomBytes(8).toString('hex')}`)
  // The mark first, so that there never is a home without.
  const mark = openMark(folder)
  if (mark === undefined) return { path: parent }
  mkdirSync(folder, { mode: 0o700 })
  return { path: folder, mark }
}

/** Listens at a home's mark as long as this process exists; undefined where that cannot be. */
function openMark(folder: string): Server | undefined {
  const mark = createServer((socket) => socket.destroy()).unref()
  mark.on('error', () => undefined) // told by its not listening, too
  const parent = openSync(path.dirname(folder), 'r')
  // In a cluster another process would listen.
  mark.listen({ path: markIn(parent, path.basename(folder)), exclusive: true })
  closeSync(parent)
  return mark.listening ? mark : undefined
}

/** Names of the homes in a folder that can be judged from here; a link is none. */
async function homesIn(parent: string): Promise<string[]> {
  const vantage = vantageOf(parent)
  const entries = vantage === undefined ? [] : await readdir(parent, { withFileTypes: true })
  const pattern = new RegExp(`^${vantage}-[0-9a-f]{16}$`)
  return entries.flatMap((entry) => (entry.isDirectory() && pattern.test(entry.name) ? [entry.name] : []))
}

/** From where a mark can be judged: this run of this kernel, and the file system as it is mounted. */
function vantageOf(parent: string): string | undefined {
  const boot = bootId()
  return boot === undefined ? undefined : shortHash(`${boot} ${statSync(parent).dev}`)
}

/** A mark's path by its open folder: one by names may be longer than a socket's can be. */
function markIn(parent: number, home: string): string {
  return `/proc/self/fd/${parent}/${home}${MARK}`
}

/** True only if the mark is there and nobody listens at it any more. */
function isDead(mark: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(mark, () => {
      socket.destroy()
      resolve(false)
    })
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'))
  })
}

/** Links in it are removed, not followed. Its mark goes last: what could not be removed can be again. */
async function removeHome(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: MOST_RETRIES })
  await rm(folder + MARK, { force: true })
}
