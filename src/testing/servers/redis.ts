import type { LocalServer, LocalServerOptions } from './local-server.ts'
import type { ServerRecipe } from './server-recipe.ts'
import { startServer } from './start-server.ts'
import { exchange } from './tcp.ts'

const PROBE_MS = 1000
const IN_MEMORY = ['--save', '', '--appendonly', 'no']

/** A Redis or Valkey for tests, demos and development. */
export interface LocalRedis extends LocalServer {}

/**
 * Finds or starts a Redis: `REDIS_URL`, else `redis-server` or `valkey-server` on this machine, else a container, else the
 * package on Debian and Ubuntu. One that is started here listens on 127.0.0.1 only, keeps nothing on disk unless `args`
 * say so (for instance `['--appendonly', 'yes']`), and dies with this process.
 */
export function startLocalRedis(options: LocalServerOptions = {}): Promise<LocalRedis> {
  return startServer(REDIS, { ...options, env: options.env ?? process.env })
}

const REDIS: ServerRecipe = {
  name: 'Redis',
  urlVariable: 'REDIS_URL',
  defaultPort: 6379,
  binaries: ['redis-server', 'valkey-server'],
  binaryFolders: () => Promise.resolve([]),
  packageName: 'redis-server',
  container: {
    image: 'redis:7',
    environment: {},
    command: (args) => ['redis-server', ...IN_MEMORY, ...args],
    readyLine: /Ready to accept connections/,
    readyLineTimes: 1,
  },
  stopSignal: 'SIGTERM',
  dieSignal: 'SIGKILL',
  url: (host, port) => `redis://${host}:${port}/0`,
  account: () => Promise.resolve(undefined),
  prepare: () => Promise.resolve(),
  commandLine: ({ folder, args }, port) => [
    ...['--bind', '127.0.0.1', '--port', String(port), '--dir', folder],
    ...IN_MEMORY,
    ...args,
  ],
  isReady: (_launch, port, pid) => isReady(port, pid),
}

/** PING and, because another server may have been faster on this port, the process id of the one who answers. */
async function isReady(port: number, pid: number): Promise<boolean> {
  const answer = await exchange({
    host: '127.0.0.1',
    port,
    send: 'PING\r\nINFO server\r\n',
    isComplete: (received) => /process_id:\d+\r\n/.test(received) || received.startsWith('-'),
    timeoutMs: PROBE_MS,
  })
  if (answer === undefined) return false
  if (answer.startsWith('-NOAUTH')) return true // somebody set a password by `args`: ready, and not to be asked further
  return answer.startsWith('+PONG') && answer.includes(`process_id:${pid}\r\n`)
}
