import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, readlinkSync, realpathSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Workspace } from '../agent/context.ts'
import { GatewayError } from '../errors.ts'
import type { TaskRef } from '../protocol/ids.ts'
import type { WatchCall } from './unheard-calls.ts'

/** As often a removal is tried again while something is still written there, a little later each time. */
const MOST_RETRIES = 3

/**
 * The private folder of one attempt of a task under the worker's `workspaceDir`, made on first use. Each attempt has its
 * own, so that one which has lost its task without knowing cannot touch what its successor works with.
 */
export class TaskWorkspace implements Workspace {
  readonly #folder: string
  readonly #watch: WatchCall
  readonly #messageId: string
  #made = false
  #isGone = false

  /** @param watch - Sees to calls that fail and that nobody awaits. */
  constructor(parent: string, task: TaskRef & { readonly fencingToken: number }, watch: WatchCall) {
    this.#folder = path.join(path.resolve(parent), folderName(task))
    this.#messageId = task.messageId
    this.#watch = watch
  }

  /** @throws GatewayError `GW_CLOSED` when it was removed. */
  get path(): string {
    if (this.#isGone) throw new GatewayError('GW_CLOSED', { what: `workspace of task ${this.#messageId}` })
    if (!this.#made) {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
      this.#made = true
    }
    return this.#folder
  }

  resolve(relativePath: string): string {
    const root = realpathSync.native(this.path)
    const target = path.resolve(root, relativePath)
    if (!isInside(root, target) || !isInside(root, realpathOfExisting(target))) {
      throw new GatewayError('GW_PATH_OUTSIDE_WORKSPACE', { path: relativePath })
    }
    return target
  }

  write(relativePath: string, content: string | Uint8Array): Promise<string> {
    return this.#watch('workspace.write', this.#write(relativePath, content), relativePath)
  }

  async #write(relativePath: string, content: string | Uint8Array): Promise<string> {
    const target = this.resolve(relativePath)
    await mkdir(path.dirname(target), { recursive: true })
    await writeFile(target, content)
    return target
  }

  read(relativePath: string): Promise<Buffer>
  read(relativePath: string, encoding: BufferEncoding): Promise<string>
  read(relativePath: string, encoding?: BufferEncoding): Promise<Buffer | string> {
    return this.#watch('workspace.read', this.#read(relativePath, encoding), relativePath)
  }

  async #read(relativePath: string, encoding: BufferEncoding | undefined): Promise<Buffer | string> {
    return readFile(this.resolve(relativePath), encoding)
  }

  /** Removes the folder with all that is in it, if it was ever made; from then on there is none. */
  async remove(): Promise<void> {
    this.#isGone = true
    if (this.#made) await rm(this.#folder, { recursive: true, force: true, maxRetries: MOST_RETRIES })
  }
}

/** Ids may hold anything printable, folder names may not: a readable part, and a hash that tells equals apart. */
function folderName({ sessionId, messageId, fencingToken }: TaskRef & { readonly fencingToken: number }): string {
  const readable = messageId.replace(/[^\w-]/g, '_').slice(0, 48)
  const hash = createHash('sha256').update(`${sessionId} ${messageId}`).digest('hex').slice(0, 16)
  return `${readable}-${hash}-${fencingToken}`
}

function isInside(root: string, target: string): boolean {
  const relative = path.relative(root, target)
  return relative === '' || !(relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative))
}

/**
 * Where the path really leads, as far as it exists: a symbolic link on the way must not lead out. As the system follows
 * it, which goes up from where a link leads, not from where it lies: so a link's target is not put in order by its letters.
 */
function realpathOfExisting(target: string): string {
  try {
    return realpathSync.native(target)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    const parent = path.dirname(target)
    // A link whose target is not there yet leads out just as well: writing through it makes the target.
    const link = lstatSync(target, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(target) : undefined
    if (link === undefined) return path.join(realpathOfExisting(parent), path.basename(target))
    return realpathOfExisting(path.isAbsolute(link) ? link : `${realpathSync.native(parent)}${path.sep}${link}`)
  }
}
