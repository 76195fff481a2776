import type { GatewayWorker } from '../agent/worker.ts'
import type { Logger } from '../logger.ts'
import type { RedisOption } from '../redis/options.ts'
import { type RunningWorker, runWorker } from '../worker/run-worker.ts'
import { startDevRedis } from './dev-redis.ts'
import type { Environment } from './env.ts'
import { EXIT } from './failure.ts'
import { loadWorker } from './load-worker.ts'
import { createWorkerLogger } from './logs.ts'
import { ModuleLoader } from './module-loader.ts'
import { redisOption } from './redis-settings.ts'
import { nameSource, type Settings } from './settings.ts'
import { SignalWatch } from './signal-watch.ts'
import { IGNORED_VARIABLES } from './worker-flags.ts'
import { locateWorker, type WorkerSpec } from './worker-spec.ts'

/** A worker to be launched. */
export interface LaunchOptions {
  readonly spec: WorkerSpec
  readonly settings: Settings
  readonly env: Environment
  /** Start a Redis if none is given, and say what to try next. */
  readonly dev: boolean
}

/** Runs a worker until it stops; answers the exit code, which is 0 when a signal asked for the stop. */
export async function launch(options: LaunchOptions): Promise<number> {
  const { spec, settings, env, dev } = options
  const logger = openLog(settings, env)
  const loader = new ModuleLoader()
  const worker = await loadWorker(spec, locateWorker(spec, process.cwd(), loader), loader)
  const given = redisOption(settings)
  await using ownRedis = dev && given === undefined ? await startDevRedis(env) : undefined
  const running = await start(worker, given ?? ownRedis?.url, settings, logger)
  const signals = new SignalWatch()
  if (dev) process.stderr.write(`${nextCommand(running, settings, ownRedis?.url)}\n`)
  await running.stopped
  signals.end()
  return signals.wasAsked ? 0 : EXIT.failure
}

function openLog(settings: Settings, env: Environment): Logger {
  try {
    const logger = createWorkerLogger(settings.values.logLevel, env)
    for (const [name, why] of Object.entries(IGNORED_VARIABLES)) {
      if (env[name]) logger.debug({ variable: name }, `${name} is ignored: ${why}`)
    }
    return logger
  } catch (error) {
    throw nameSource(error, settings)
  }
}

async function start(
  worker: GatewayWorker,
  redis: RedisOption | undefined,
  settings: Settings,
  logger: Logger,
): Promise<RunningWorker> {
  const { workerClass: _, logLevel: __, ...values } = settings.values
  const options = Object.entries(values).filter(([name]) => !name.startsWith('redis'))
  try {
    return await runWorker({ ...Object.fromEntries(options), worker, redis, logger, handleSignals: true })
  } catch (error) {
    throw nameSource(error, settings)
  }
}

/** What to type in another terminal. */
function nextCommand({ capabilities }: RunningWorker, { values, sources }: Settings, devUrl: string | undefined) {
  const url = devUrl ?? (sources.get('redisUrl')?.kind === 'flag' ? values.redisUrl : undefined)
  const isSecret = url !== undefined && /@/.test(url)
  const flags = [
    ...(url === undefined || isSecret ? [] : [`--redis-url ${url}`]),
    ...(sources.get('keyPrefix')?.kind === 'flag' ? [`--key-prefix ${values.keyPrefix}`] : []),
  ]
  return `Try in another terminal: npx byclaw send ${capabilities[0]} "Hello" ${flags.join(' ')}`.trimEnd()
}
