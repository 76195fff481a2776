import { findFreePort } from './free-port.ts'
import { type LocalServer, LocalServerError } from './local-server.ts'
import type { ServerRecipe } from './server-recipe.ts'

const IMAGE_AND_START_MS = 180_000
const PORT_ATTEMPTS = 3

type Testcontainers = typeof import('testcontainers')

/** A container, or why there is none. */
export type ContainerOutcome =
  | { readonly status: 'started'; readonly server: LocalServer }
  | { readonly status: 'unavailable'; readonly reason: string }

/** What to run in the container. */
export interface ContainerOptions {
  readonly recipe: ServerRecipe
  readonly args: readonly string[]
  /** The port asked for; undefined: any. */
  readonly port: number | undefined
  readonly log: (message: string) => void
}

/** Starts the server in a container, if the package `testcontainers` is there and an engine answers. */
export async function startContainer(options: ContainerOptions): Promise<ContainerOutcome> {
  let testcontainers: Testcontainers
  try {
    testcontainers = await import('testcontainers')
  } catch {
    return unavailable('the package testcontainers is not installed') // it is for development only
  }
  try {
    await testcontainers.getContainerRuntimeClient()
  } catch (error) {
    return unavailable(`no container engine answers (${messageOf(error)})`)
  }
  options.log(`starting ${options.recipe.name} in a container (${options.recipe.container.image})`)
  let reason = ''
  for (let attempt = 0; attempt < PORT_ATTEMPTS; attempt += 1) {
    try {
      return { status: 'started', server: await run(testcontainers, options) }
    } catch (error) {
      reason = `the container did not start (${messageOf(error)})`
    }
    if (options.port !== undefined || !/port is already allocated|address already in use/i.test(reason)) break
  }
  return unavailable(reason)
}

async function run({ GenericContainer, Wait }: Testcontainers, options: ContainerOptions): Promise<LocalServer> {
  const { recipe, args } = options
  const { image, environment, command, readyLine, readyLineTimes } = recipe.container
  // A port chosen here rather than by the engine stays the same over a restart.
  const port = options.port ?? (await findFreePort())
  const container = await new GenericContainer(image)
    .withEnvironment(environment)
    .withCommand(command(args))
    .withExposedPorts({ container: recipe.defaultPort, host: port })
    .withWaitStrategy(Wait.forLogMessage(readyLine, readyLineTimes))
    .withStartupTimeout(IMAGE_AND_START_MS)
    .start()
  let stopped: Promise<void> | undefined
  const stop = () => {
    stopped ??= container.stop({ remove: true, removeVolumes: true }).then(() => undefined)
    return stopped
  }
  return {
    url: recipe.url(container.getHost(), port),
    port,
    pid: undefined,
    source: 'container',
    folder: undefined,
    stop,
    kill: () => {
      throw new LocalServerError(`${recipe.name}: a server in a container takes no signals from here`)
    },
    restart: () => container.restart(),
    [Symbol.asyncDispose]: stop,
  }
}

function unavailable(reason: string): ContainerOutcome {
  return { status: 'unavailable', reason }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
