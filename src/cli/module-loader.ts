import { existsSync } from 'node:fs'
import nodeModule from 'node:module'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { ownFile } from '../util/own-file.ts'
import { FROM_SCHEME, syncHooks } from './module-hooks.ts'

/** Node has `registerHooks` from 22.15 on, and its types from 22. */
const hooking: { register: typeof nodeModule.register; registerHooks?: (hooks: typeof syncHooks) => unknown } =
  nodeModule

/** Imports the user's modules: JavaScript as Node does it, TypeScript through tsx. */
export class ModuleLoader {
  #isHooked = false
  #speaksTypeScript = false

  /**
   * The URL of a package as a module in `folder` would import it.
   *
   * @throws Error by Node, when there is none.
   */
  resolve(name: string, folder: string): URL {
    this.#hook()
    const parent = pathToFileURL(path.join(folder, 'index.js')).href
    return new URL(import.meta.resolve(FROM_SCHEME + encodeURIComponent(JSON.stringify([parent, name]))))
  }

  /** Whatever the module or its imports throw while loading, this throws. */
  async import(url: URL): Promise<Record<string, unknown>> {
    if (/\.m?tsx?$/.test(url.pathname)) await this.#learnTypeScript(path.dirname(fileURLToPath(url)))
    return import(url.href)
  }

  async #learnTypeScript(folder: string): Promise<void> {
    if (this.#speaksTypeScript) return
    this.#speaksTypeScript = true
    // Only now: tsx and its compiler are heavy, and a worker in JavaScript needs neither.
    const tsx = await import('tsx/esm/api')
    tsx.register({ tsconfig: nearest('tsconfig.json', folder) })
    this.#hook()
  }

  /** Hooks that come later stand in front of earlier ones, so ours come again after those of tsx. */
  #hook(): void {
    if (this.#isHooked && !this.#speaksTypeScript) return
    this.#isHooked = true
    if (hooking.registerHooks === undefined) hooking.register(ownFile('cli/module-hooks'))
    else hooking.registerHooks(syncHooks)
  }
}

function nearest(name: string, folder: string): string | undefined {
  const file = path.join(folder, name)
  if (existsSync(file)) return file
  const above = path.dirname(folder)
  return above === folder ? undefined : nearest(name, above)
}
