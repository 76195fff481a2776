import { REDIS_VARIABLES } from '../redis/variables.ts'
import type { TextKind, TextValues } from '../util/read-text.ts'

/** One setting: its flag as the help shows it, its environment variable, its kind, and what it means. */
type Row = readonly [flag: string, env: string, kind: TextKind, help: string]

const WORKER = {
  workerClass: [
    '--worker-class <file#Export>',
    'BYAI_WORKER_CLASS',
    'text',
    'the agent: file#Export, file or package#Export; .ts .mts .js .mjs',
  ],
  workerId: ['--worker-id <id>', 'BYAI_WORKER_ID', 'text', 'stable name of this worker; default host-pid-random'],
  maxConcurrency: [
    '--max-concurrency <n>',
    'BYAI_WORKER_CONCURRENCY',
    'number',
    'tasks that run in this worker at a time',
  ],
  fetchCount: ['--fetch-count <n>', 'BYAI_WORKER_FETCH_COUNT', 'number', 'most tasks taken by one read when idle'],
  consumerGroup: [
    '--consumer-group <name>',
    'BYAI_WORKER_CONSUMER_GROUP',
    'text',
    'workers share tasks within a group',
  ],
  workspaceDir: ['--workspace-dir <path>', 'BYAI_WORKER_WORKSPACE_DIR', 'text', "parent of the tasks' private folders"],
} as const satisfies Record<string, Row>

const REDIS = {
  redisUrl: [
    '--redis-url <url>',
    ...REDIS_VARIABLES.redisUrl,
    'redis://user:password@host:port/db, rediss:// for TLS; default this machine',
  ],
  redisHost: ['--redis-host <host>', ...REDIS_VARIABLES.redisHost, 'in place of a URL'],
  redisPort: ['--redis-port <port>', ...REDIS_VARIABLES.redisPort, 'in place of a URL'],
  redisDb: ['--redis-db <n>', ...REDIS_VARIABLES.redisDb, 'in place of a URL'],
  redisUsername: ['--redis-username <name>', ...REDIS_VARIABLES.redisUsername, 'also beside a URL that has none'],
  redisPassword: [
    '--redis-password <text>',
    ...REDIS_VARIABLES.redisPassword,
    'also beside a URL that has none; prefer the variable, flags can be read by others',
  ],
  redisTls: [
    '--redis-tls',
    ...REDIS_VARIABLES.redisTls,
    'encrypt the connection; --no-redis-tls overrides the variable',
  ],
  redisCluster: ['--redis-cluster <nodes>', ...REDIS_VARIABLES.redisCluster, 'nodes of a Cluster: host:port,host:port'],
  redisSentinels: ['--redis-sentinels <nodes>', ...REDIS_VARIABLES.redisSentinels, 'Sentinels: host:port,host:port'],
  redisSentinelName: ['--redis-sentinel-name <name>', ...REDIS_VARIABLES.redisSentinelName, 'the master they watch'],
  redisSentinelUsername: [
    '--redis-sentinel-username <name>',
    ...REDIS_VARIABLES.redisSentinelUsername,
    'for the Sentinels',
  ],
  redisSentinelPassword: [
    '--redis-sentinel-password <text>',
    ...REDIS_VARIABLES.redisSentinelPassword,
    'for the Sentinels',
  ],
  connectTimeoutMs: [
    '--connect-timeout-ms <ms>',
    'BYAI_WORKER_CONNECT_TIMEOUT_MS',
    'number',
    'how long the start waits for Redis',
  ],
  keyPrefix: [
    '--key-prefix <text>',
    'BYAI_WORKER_KEY_PREFIX',
    'text',
    'first part of every key, the same for workers and backends',
  ],
} as const satisfies Record<string, Row>

const TIMES = {
  leaseMs: ['--lease-ms <ms>', 'BYAI_WORKER_LEASE_MS', 'number', 'a worker silent for this long loses its tasks'],
  blockedAfterMs: [
    '--blocked-after-ms <ms>',
    'BYAI_WORKER_BLOCKED_AFTER_MS',
    'number',
    'a worker whose event loop is blocked for this long loses them too',
  ],
  taskTimeoutMs: [
    '--task-timeout-ms <ms>',
    'BYAI_WORKER_TASK_TIMEOUT_MS',
    'number',
    'an attempt that runs longer is aborted and counts as failed',
  ],
  cancelGraceMs: [
    '--cancel-grace-ms <ms>',
    'BYAI_WORKER_CANCEL_GRACE_MS',
    'number',
    'how long a cancelled handler may take to come to its end',
  ],
  shutdownTimeoutMs: [
    '--shutdown-timeout-ms <ms>',
    'BYAI_WORKER_SHUTDOWN_TIMEOUT_MS',
    'number',
    'how long a stop lets running tasks finish',
  ],
  suspendAfterMs: [
    '--suspend-after-ms <ms>',
    'BYAI_WORKER_SUSPEND_AFTER_MS',
    'number',
    'a task that waits this long for an agent or a person leaves memory until the answer comes',
  ],
  coalesceMs: [
    '--coalesce-ms <ms>',
    'BYAI_WORKER_COALESCE_MS',
    'number',
    'chunks that a task emits within so many ms become one event',
  ],
  resultTtlMs: ['--result-ttl-ms <ms>', 'BYAI_WORKER_RESULT_TTL_MS', 'number', 'how long results are kept'],
  streamTtlMs: [
    '--stream-ttl-ms <ms>',
    'BYAI_WORKER_STREAM_TTL_MS',
    'number',
    "how long a session's stream is kept after its last event",
  ],
} as const satisfies Record<string, Row>

const LIMITS = {
  maxDeliveries: [
    '--max-deliveries <n>',
    'BYAI_WORKER_MAX_DELIVERIES',
    'number',
    'a task that was taken this often, and whose workers died, goes to the dead letters',
  ],
  streamMaxLength: [
    '--stream-max-length <n>',
    'BYAI_WORKER_STREAM_MAX_LENGTH',
    'number',
    "about how many events a session's stream keeps",
  ],
  maxPayloadBytes: [
    '--max-payload-bytes <n>',
    'BYAI_WORKER_MAX_PAYLOAD_BYTES',
    'number',
    'largest command and largest result',
  ],
} as const satisfies Record<string, Row>

const REPLAYS = {
  agentVersion: [
    '--agent-version <version>',
    'BYAI_WORKER_VERSION',
    'text',
    "version of the agent's code: a task that it has begun and recorded runs again only where that version does",
  ],
  compatibleVersions: [
    '--compatible-versions <list>',
    'BYAI_WORKER_COMPATIBLE_VERSIONS',
    'list',
    'versions whose tasks this one can go on with: v1,v2',
  ],
  onNonDeterminism: [
    '--on-non-determinism <policy>',
    'BYAI_WORKER_ON_NON_DETERMINISM',
    'text',
    'a task whose handler, running again, calls something else than before: fail or restart',
  ],
} as const satisfies Record<string, Row>

const RETRIES = {
  retryMaxAttempts: [
    '--retry-max-attempts <n>',
    'BYAI_WORKER_RETRY_MAX_ATTEMPTS',
    'number',
    'how often a failing task is tried in all',
  ],
  retryDelayMs: [
    '--retry-delay-ms <ms>',
    'BYAI_WORKER_RETRY_DELAY_MS',
    'number',
    'wait before the second attempt, doubled before each further one',
  ],
  retryMaxDelayMs: ['--retry-max-delay-ms <ms>', 'BYAI_WORKER_RETRY_MAX_DELAY_MS', 'number', 'longest such wait'],
} as const satisfies Record<string, Row>

const PLUGINS = {
  plugins: [
    '--plugins <names>',
    'BYAI_WORKER_PLUGINS',
    'list',
    'names of installed packages, and paths that begin with ./, with commas in between',
  ],
  pluginDir: [
    '--plugin-dir <path>',
    'BYAI_WORKER_PLUGIN_DIR',
    'text',
    'a folder of plugins; what changes in it is loaded anew',
  ],
  pluginPollMs: [
    '--plugin-poll-ms <ms>',
    'BYAI_WORKER_PLUGIN_POLL_MS',
    'number',
    'how often to look for changes that the system did not tell of',
  ],
} as const

const HISTORY = {
  historyUrl: [
    '--history-url <url>',
    'BYAI_HISTORY_URL',
    'text',
    "where the sessions' messages are kept: postgres://…, redis://…, or redis for the same Redis; default in memory",
  ],
  historyTable: ['--history-table <name>', 'BYAI_HISTORY_TABLE', 'text', 'the table in Postgres'],
  historyPooler: [
    '--history-pooler',
    'BYAI_HISTORY_POOLER',
    'switch',
    'Postgres is behind a pooler that hands connections out by transaction, such as PgBouncer',
  ],
} as const satisfies Record<string, Row>

const LOGS = {
  logLevel: ['--log-level <level>', 'LOG_LEVEL', 'text', 'trace, debug, info, warn, error, fatal or silent'],
} as const satisfies Record<string, Row>

/** A row of the table, with its name and the heading under which the help shows it. */
export interface WorkerFlag {
  /** The flag's name in camel case: an option of `runWorker`, or a piece of one. */
  readonly option: string
  readonly flag: string
  readonly env: string
  readonly kind: TextKind
  readonly group: string
  readonly help: string
}

/**
 * Every setting that a text can express, once: flags, variables, help and documentation all come from here. Defaults and
 * ranges do not; those belong to `runWorker`.
 */
export const WORKER_FLAGS: readonly WorkerFlag[] = Object.entries({
  Worker: WORKER,
  Redis: REDIS,
  Times: TIMES,
  Retries: RETRIES,
  Replays: REPLAYS,
  Limits: LIMITS,
  Plugins: PLUGINS,
  History: HISTORY,
  Logs: LOGS,
}).flatMap(([group, rows]) =>
  Object.entries<Row>(rows).map(([option, [flag, env, kind, help]]) => ({ option, flag, env, kind, group, help })),
)

/** The settings that the operators' commands have too. */
export const CONNECTION_FLAGS = WORKER_FLAGS.filter(({ option }) => option in REDIS)

/** The settings of the operators' commands that look at what was said. */
export const HISTORY_FLAGS = WORKER_FLAGS.filter(({ option }) => option in HISTORY)

/** Variables of older SDKs that mean nothing here, and why. */
export const IGNORED_VARIABLES: Readonly<Record<string, string>> = {
  BYAI_REDIS_MAX_CONNECTIONS: 'a worker opens a small, fixed number of connections',
}

type Rows = typeof WORKER &
  typeof REDIS &
  typeof TIMES &
  typeof RETRIES &
  typeof REPLAYS &
  typeof LIMITS &
  typeof PLUGINS &
  typeof HISTORY &
  typeof LOGS

/** The values that were given, by option, of the type that their row names. */
export type FlagValues = { readonly [Option in keyof Rows]?: TextValues[Rows[Option][2]] }
