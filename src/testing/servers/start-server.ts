import { startContainer } from './container.ts'
import { findBinary } from './find-binary.ts'
import { useGivenServer } from './given-server.ts'
import { installPackage } from './install-package.ts'
import { startLocalProcess } from './local-process.ts'
import { type LocalServer, LocalServerError, type LocalServerOptions, type ServerSource } from './local-server.ts'
import type { ServerRecipe } from './server-recipe.ts'

const START_TIMEOUT_MS = 20_000

interface Resolved extends LocalServerOptions {
  readonly env: NodeJS.ProcessEnv
  readonly args: readonly string[]
  readonly startTimeoutMs: number
  readonly log: (message: string) => void
}

/**
 * Finds or starts a server: one that is given by URL, else the program on this machine, else a container, else the
 * program after installing its package; else an error which lists these choices.
 */
export async function startServer(
  recipe: ServerRecipe,
  options: LocalServerOptions & { readonly env: NodeJS.ProcessEnv },
): Promise<LocalServer> {
  const resolved = resolve(options)
  const { env, args, port, log, startTimeoutMs } = resolved
  const url = options.fresh ? undefined : (options.url ?? (env[recipe.urlVariable] || undefined))
  if (url !== undefined) return useGivenServer(recipe, url, startTimeoutMs)

  const found = await startBinary(recipe, 'binary', resolved)
  if (found !== undefined) return found

  const container = await startContainer({ recipe, args, port, log })
  if (container.status === 'started') return container.server

  const install = await installPackage({ packageName: recipe.packageName, env, log })
  // Also after a failure: another process may have installed the same package while we failed over its lock.
  const installed = await startBinary(recipe, 'installed', resolved)
  if (installed !== undefined) return installed

  const installReason = install.status === 'unavailable' ? install.reason : 'the package brought no such program'
  throw new LocalServerError(choices(recipe, container.reason, installReason))
}

function resolve(options: LocalServerOptions & { readonly env: NodeJS.ProcessEnv }): Resolved {
  if (options.fresh && options.url !== undefined) {
    throw new LocalServerError('url and fresh exclude each other: a fresh server has a URL of its own')
  }
  const { args = [], startTimeoutMs = START_TIMEOUT_MS, log = () => undefined } = options
  return { ...options, args, startTimeoutMs, log }
}

async function startBinary(
  recipe: ServerRecipe,
  source: ServerSource,
  { env, args, port, startTimeoutMs }: Resolved,
): Promise<LocalServer | undefined> {
  const binary = await findBinary({ names: recipe.binaries, env, folders: await recipe.binaryFolders() })
  if (binary === undefined) return undefined
  return startLocalProcess({ recipe, binary, source, env, args, port, startTimeoutMs })
}

function choices(recipe: ServerRecipe, containerReason: string, installReason: string): string {
  return [
    `There is no ${recipe.name} here. Choose one:`,
    `  - set ${recipe.urlVariable} to one that runs`,
    `  - put ${recipe.binaries.join(' or ')} on the PATH`,
    `  - let one run in a container: ${containerReason}`,
    `  - let it be installed on Debian or Ubuntu as root: ${installReason}`,
  ].join('\n')
}
