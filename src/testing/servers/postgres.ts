import { execFile } from 'node:child_process'
import { chown, readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { type LocalServer, LocalServerError, type LocalServerOptions } from './local-server.ts'
import type { Account, Launch, ServerRecipe } from './server-recipe.ts'
import { startServer } from './start-server.ts'

const DEBIAN_FOLDER = '/usr/lib/postgresql'
const INITDB_MS = 60_000
const STATUS_LINE = 7
// The data does not outlive the server, so nothing needs to be forced to the disk.
const IN_MEMORY = ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off'].flatMap((value) => ['-c', value])

/** A Postgres for tests, demos and development. */
export interface LocalPostgres extends LocalServer {}

/**
 * Finds or starts a Postgres: `DATABASE_URL`, else `postgres` on this machine, else a container, else the package on
 * Debian and Ubuntu. One that is started here listens on 127.0.0.1 only, trusts everybody there, has the user and the
 * database `postgres`, and dies with this process.
 */
export function startLocalPostgres(options: LocalServerOptions = {}): Promise<LocalPostgres> {
  return startServer(POSTGRES, { ...options, env: options.env ?? process.env })
}

const POSTGRES: ServerRecipe = {
  name: 'Postgres',
  urlVariable: 'DATABASE_URL',
  defaultPort: 5432,
  binaries: ['postgres'],
  binaryFolders,
  packageName: 'postgresql',
  container: {
    image: 'postgres:16',
    environment: { POSTGRES_HOST_AUTH_METHOD: 'trust' },
    command: (args) => ['postgres', ...IN_MEMORY, ...args],
    readyLine: /database system is ready to accept connections/,
    readyLineTimes: 2, // the first time it is the image's own set-up that needs the server
  },
  stopSignal: 'SIGINT',
  dieSignal: 'SIGQUIT',
  url: (host, port) => `postgres://postgres@${host}:${port}/postgres`,
  account,
  prepare,
  commandLine: (launch, port) => [
    ...['-D', dataFolder(launch), '-p', String(port)],
    ...['-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='],
    ...IN_MEMORY,
    ...launch.args,
  ],
  isReady: (launch, _port, pid) => isReady(launch, pid),
}

/** Debian keeps the server's programs out of PATH, one folder per version; the newest comes first. */
async function binaryFolders(): Promise<string[]> {
  try {
    const versions = await readdir(DEBIAN_FOLDER)
    return versions.sort((a, b) => Number(b) - Number(a)).map((version) => join(DEBIAN_FOLDER, version, 'bin'))
  } catch {
    return [] // not a Debian, or no Postgres on it
  }
}

/** Postgres refuses to run as root. */
async function account(): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const [, , uid, gid] = lines.find(([name]) => name === 'postgres') ?? lines.find(([name]) => name === 'nobody') ?? []
  if (uid === undefined || gid === undefined) {
    throw new LocalServerError('Postgres does not run as root, and there is no account postgres or nobody to run it as')
  }
  return { uid: Number(uid), gid: Number(gid) }
}

async function prepare(launch: Launch): Promise<void> {
  const { binary, folder, env, account } = launch
  if (account !== undefined) await chown(folder, account.uid, account.gid)
  const initdb = join(dirname(binary), 'initdb')
  const args = [
    '-D',
    dataFolder(launch),
    '-U',
    'postgres',
    '--auth=trust',
    '--encoding=UTF8',
    '--locale=C',
    '--no-sync',
  ]
  try {
    await promisify(execFile)(initdb, args, {
      cwd: folder,
      env: { ...env, LC_ALL: 'C' },
      timeout: INITDB_MS,
      ...account,
    })
  } catch (error) {
    throw new LocalServerError(`Postgres: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

function dataFolder({ folder }: Launch): string {
  return join(folder, 'data')
}

/** Postgres writes into its data folder who it is and whether it is ready, which leaves no doubt whom one has asked. */
async function isReady(launch: Launch, pid: number): Promise<boolean> {
  try {
    const lines = (await readFile(join(dataFolder(launch), 'postmaster.pid'), 'utf8')).split('\n')
    return lines[0]?.trim() === String(pid) && lines[STATUS_LINE]?.trim() === 'ready'
  } catch {
    return false // not written yet
  }
}
