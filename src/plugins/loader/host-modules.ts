import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

type Namespace = Readonly<Record<string, unknown>>

/** The library's face, beside this very file: in a plugin its name means the copy that runs the worker, and no other. */
const FACE = new URL(`../../index${path.extname(import.meta.url)}`, import.meta.url)
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
    if (name === LIBRARY) return FACE.href
    if (!name.startsWith(`${LIBRARY}/`)) return name
    // By its own name a package finds its sub-paths wherever it is installed.
    return pathToFileURL(createRequire(import.meta.url).resolve(name)).href
  }
}
