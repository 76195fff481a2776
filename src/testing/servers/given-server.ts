import { type LocalServer, LocalServerError } from './local-server.ts'
import type { ServerRecipe } from './server-recipe.ts'
import { canConnect } from './tcp.ts'

/** Takes a server that runs already, after a look whether somebody is at home. */
export async function useGivenServer(recipe: ServerRecipe, url: string, timeoutMs: number): Promise<LocalServer> {
  const { hostname, port: portText } = parse(recipe, url)
  const port = portText === '' ? recipe.defaultPort : Number(portText)
  const host = hostname.replace(/^\[|\]$/g, '') || '127.0.0.1'
  if (!(await canConnect(host, port, timeoutMs))) {
    throw new LocalServerError(`${recipe.name}: nobody answers at ${host}:${port}; is ${recipe.urlVariable} right?`)
  }
  const refuse = (what: string) =>
    new LocalServerError(
      `${recipe.name}: a server given by URL cannot be ${what} from here; ask for a fresh one instead`,
    )
  return {
    url,
    port,
    pid: undefined,
    source: 'url',
    folder: undefined,
    stop: () => Promise.resolve(),
    kill: () => {
      throw refuse('killed')
    },
    restart: () => Promise.reject(refuse('restarted')),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

function parse(recipe: ServerRecipe, url: string): URL {
  if (URL.canParse(url)) return new URL(url)
  // The text itself may hold a password, so it is not repeated here.
  throw new LocalServerError(`${recipe.name}: what was given as ${recipe.urlVariable} is not a URL`)
}
