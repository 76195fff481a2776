import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { errorMessage } from '../errors.ts'
import { devRedis } from './dev-redis.ts'
import { FileWatch } from './file-watch.ts'
import type { LaunchOptions } from './launch.ts'
import { WorkerProcess } from './worker-process.ts'

/** Runs this very program as a child without `--watch`, again and again; answers the last child's exit code. */
export async function superviseWorker(options: LaunchOptions, args: readonly string[]): Promise<number> {
  const { url, env, dev, settings } = options
  // One that survives the restarts.
  await using redis = dev ? await devRedis(settings, env) : undefined
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
  await using _watch = await FileWatch.on(path.dirname(fileURLToPath(url)), { onChange, onError }, except)
  try {
    return await child.run()
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}
