import Module, { createRequire } from 'node:module'

type Esbuild = typeof import('esbuild')

/**
 * A compiler of one's own. The process behind esbuild is shared by all who import it, and to stop it leaves the builds of others
 * waiting for ever; so this is a copy of the module that nobody else has, and its process may be ended.
 */
export class Compiler {
  #esbuild: Esbuild | undefined

  /** Loads it when it is first used: it is heavy. */
  get build(): Esbuild['build'] {
    this.#esbuild ??= load()
    return this.#esbuild.build
  }

  /** Ends its process; a build after that begins another one. */
  async stop(): Promise<void> {
    await this.#esbuild?.stop()
  }
}

function load(): Esbuild {
  const file = createRequire(import.meta.url).resolve('esbuild')
  const module = new Module(file) as unknown as { load(filename: string): void; readonly exports: Esbuild }
  module.load(file)
  return module.exports
}
