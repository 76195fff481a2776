/** Where a server came from: a given URL, a program on this machine, a container, or a package installed just now. */
export type ServerSource = 'url' | 'binary' | 'container' | 'installed'

/** A server for tests, demos and development. Stop it, or hold it with `await using`. */
export interface LocalServer extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** Process id while the server runs as a child of this process; it changes with a restart. */
  readonly pid: number | undefined
  readonly source: ServerSource
  /** The private folder with data and `server.log`, if the server is a child of this process. */
  readonly folder: string | undefined
  /** Ends the server and removes its data. A server given by URL is left alone. */
  stop(): Promise<void>
  /** Sends a signal to the server itself, for instance to crash or to freeze it. Only for a child of this process. */
  kill(signal: NodeJS.Signals): void
  /** Ends the server if it still runs, and starts it again on the same port with the same data. */
  restart(): Promise<void>
}

/** How to find or start a server. */
export interface LocalServerOptions {
  /** Use this server and start none. Default: the environment's `REDIS_URL` or `DATABASE_URL`. */
  readonly url?: string | undefined
  /** Start a private server, whatever the environment says. Default false. */
  readonly fresh?: boolean | undefined
  /** The environment to read. Default `process.env`. */
  readonly env?: NodeJS.ProcessEnv | undefined
  /** Further arguments for the server's program, last and thus strongest. */
  readonly args?: readonly string[] | undefined
  /** The port to listen on. Default: a free one. */
  readonly port?: number | undefined
  /** How long a start may take, without download or installation. Default 20000. */
  readonly startTimeoutMs?: number | undefined
  /** Is told what takes long, for instance that a package is being installed. Default: nobody. */
  readonly log?: ((message: string) => void) | undefined
}

/** A server could not be found, started or handled; the message says what to do. */
export class LocalServerError extends Error {
  override readonly name = 'LocalServerError'
}
