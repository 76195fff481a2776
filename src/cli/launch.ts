import { GatewayError } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Environment } from '../redis/variables.ts'
import { readCapabilities } from '../worker/identity.ts'
import type { RunWorkerOptions } from '../worker/options.ts'
import { runWorker } from '../worker/run-worker.ts'
import type { RunningWorker } from '../worker/worker-runtime.ts'
import { checkSettings } from './check-settings.ts'
import { devRedis } from './dev-redis.ts'
import { AgentFault, EXIT } from './failure.ts'
import { openHistory } from './history-store.ts'
import { loadWorker } from './load-worker.ts'
import { createWorkerLogger } from './logs.ts'
import type { ModuleLoader } from './module-loader.ts'
import { nextCommand } from './next-command.ts'
import { plainOptions } from './plain-options.ts'
import { redisOption } from './redis-settings.ts'
import { nameSource, type Settings } from './settings.ts'
import { SignalWatch } from './signal-watch.ts'
import { IGNORED_VARIABLES } from './worker-flags.ts'
import type { WorkerSpec } from './worker-spec.ts'

/** A worker to be launched. */
export interface LaunchOptions {
  readonly spec: WorkerSpec
  /** Where its module lies. */
  readonly url: URL
  readonly loader: ModuleLoader
  readonly settings: Settings
  readonly env: Environment
  /** Start a Redis if none is given, and say what to try next. */
  readonly dev: boolean
}

/** Runs a worker until it stops; answers the exit code, which is 0 when a signal asked for the stop. */
export async function launch({ spec, url, loader, settings, env, dev }: LaunchOptions): Promise<number> {
  checkSettings(settings)
  const logger = await openLog(settings, env)
  // So that what plugins throw shows their own files and lines.
  if (settings.values.pluginDir !== undefined || settings.values.plugins !== undefined)
    process.setSourceMapsEnabled(true)
  const worker = await loadWorker(spec, url, loader)
  await using ownRedis = dev ? await devRedis(settings, env) : undefined
  const redis = ownRedis?.url ?? redisOption(settings)
  // Before the start, which says that it is done before anybody here can hear of it.
  using signals = new SignalWatch()
  const history = await openHistory(settings, redis, logger)
  const rest = history === undefined ? { logger } : { logger, history }
  try {
    // Until the start hears signals itself, nobody else does.
    if (signals.wasAsked) return 0
    const running = await start({ ...plainOptions(settings), worker, redis, ...rest, handleSignals: true }, settings)
    if (dev) {
      const [first] = running.capabilities
      const contract = readCapabilities(worker).contracts.get(first ?? '')
      process.stderr.write(`${nextCommand(first, contract, settings, ownRedis?.url)}\n`)
    }
    await running.stopped
    return signals.wasAsked ? 0 : EXIT.failure
  } finally {
    await history?.close()
  }
}

/** What the library refuses and no setting has said is the agent's own: the name of a capability, for instance. */
async function start(options: RunWorkerOptions, settings: Settings): Promise<RunningWorker> {
  try {
    return await runWorker(options)
  } catch (error) {
    const isRefused = error instanceof GatewayError && error.code === 'GW_INVALID_ARGUMENT'
    if (!isRefused || nameSource(error, settings) !== error) throw error
    throw new AgentFault(`${error.message} (${error.code})`, { cause: error })
  }
}

async function openLog({ values }: Settings, env: Environment): Promise<Logger> {
  const logger = await createWorkerLogger(values.logLevel, env)
  for (const [name, why] of Object.entries(IGNORED_VARIABLES)) {
    if (env[name]) logger.debug({ variable: name }, `${name} is ignored: ${why}`)
  }
  // Also in code that no task waits for: a crash is an entry of the log like all else.
  process.on('uncaughtException', (error, origin) => {
    logger.error({ err: error, origin }, 'nobody caught this error, the process ends')
    process.exit(EXIT.failure)
  })
  return logger
}
