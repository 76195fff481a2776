import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { errorMessage } from '../errors.ts'
import type { Environment } from '../redis/environment.ts'
import { startDevRedis } from './dev-redis.ts'
import { FileWatch } from './file-watch.ts'
import { ModuleLoader } from './module-loader.ts'
import type { Settings } from './settings.ts'
import { WorkerProcess } from './worker-process.ts'
import { locateWorker, type WorkerSpec } from './worker-spec.ts'

/** A worker to be run anew whenever its files change. */
export interface SuperviseOptions {
  readonly spec: WorkerSpec
  readonly env: Environment
  /** Start a Redis that survives the restarts. */
  readonly needsRedis: boolean
  readonly settings: Settings
  /** This program's arguments. */
  readonly args: readonly string[]
}

/** Runs this very program as a child without `--watch`, again and again; answers the last child's exit code. */
export async function superviseWorker(options: SuperviseOptions): Promise<number> {
  const { spec, env, needsRedis, args, settings } = options
  const file = fileURLToPath(locateWorker(spec, process.cwd(), new ModuleLoader()))
  await using redis = needsRedis ? await startDevRedis(env) : undefined
  const childArgs = [...args.filter((arg) => arg !== '--watch'), ...(redis ? ['--redis-url', redis.url] : [])]
  const say = (text: string) => process.stderr.write(`${text}\n`)
  const child = new WorkerProcess([process.argv[1] ?? '', ...childArgs], say)
  const onSignal = (): void => child.stop()
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  const { pluginDir } = settings.values
  // Plugins are loaded anew by the worker itself.
  const except = pluginDir === undefined ? undefined : path.resolve(pluginDir)
  const onChange = (changed: string) => child.restart(changed)
  const onError = (error: unknown) => say(`some changes are not heard of: ${errorMessage(error)}`)
  await using _watch = await FileWatch.on(path.dirname(file), { onChange, onError }, except)
  try {
    return await child.run()
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}
