/** One server process to be: what a recipe needs to know to write its arguments. */
export interface Launch {
  /** The server's program. */
  readonly binary: string
  /** Private folder of this server. */
  readonly folder: string
  readonly env: NodeJS.ProcessEnv
  readonly args: readonly string[]
  /** Run as this account; undefined: as ourselves. */
  readonly account: Account | undefined
}

/** A system account by its numbers. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

/** All that differs between one kind of server and another. */
export interface ServerRecipe {
  readonly name: string
  /** Environment variable with the URL of a server that runs already. */
  readonly urlVariable: string
  readonly defaultPort: number
  /** Names of the program, the preferred one first. */
  readonly binaries: readonly string[]
  /** Folders besides PATH in which the program may live. */
  readonly binaryFolders: () => Promise<string[]>
  /** The package that brings the program on Debian and Ubuntu. */
  readonly packageName: string
  readonly container: ContainerRecipe
  /** Asks for an orderly end that keeps the data. */
  readonly stopSignal: NodeJS.Signals
  /** Ends the server at once, data or not. */
  readonly dieSignal: NodeJS.Signals
  readonly url: (host: string, port: number) => string
  /** The account to run as, where the server refuses ours. */
  readonly account: () => Promise<Account | undefined>
  /** Lays out the folder before the first start. */
  readonly prepare: (launch: Launch) => Promise<void>
  readonly commandLine: (launch: Launch, port: number) => string[]
  /** Whether this very process, and not another one on its port, takes connections. */
  readonly isReady: (launch: Launch, port: number, pid: number) => Promise<boolean>
}

/** How the same server runs in a container. */
export interface ContainerRecipe {
  readonly image: string
  readonly environment: Record<string, string>
  readonly command: (args: readonly string[]) => string[]
  /** The line that says it is ready, and how often it must have been seen. */
  readonly readyLine: RegExp
  readonly readyLineTimes: number
}
