import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { ownFile } from '../../util/own-file.ts'

type Namespace = Readonly<Record<string, unknown>>

const LIBRARY = 'byclaw-gateway-sdk'

/** What a plugin shares with the worker that loads it: this library and its zod. */
export class HostModules {
  readonly #loaded = new Map<string, Namespace>()

  /** Those that were asked for so far. */
  get loaded(): ReadonlyMap<string, Namespace> {
    return this.#loaded
  }

  /** Imports one by the name that the plugin uses, such as `zod` or `byclaw-gateway-sdk/testing`. */
  async load(name: string): Promise<Namespace> {
    const known = this.#loaded.get(name)
    if (known !== undefined) return known
    const namespace: Namespace = await import(await this.#locate(name))
    this.#loaded.set(name, namespace)
    return namespace
  }

  async #locate(name: string): Promise<string> {
    // In a plugin the library's name means the copy that runs the worker, and no other.
    if (name === LIBRARY) return ownFile('index').href
    if (!name.startsWith(`${LIBRARY}/`)) return name
    // By its own name a package finds its sub-paths wherever it is installed.
    return pathToFileURL(createRequire(import.meta.url).resolve(name)).href
  }
}
