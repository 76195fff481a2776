import type { Command } from 'commander'
import { environment } from './env.ts'
import { UsageError } from './failure.ts'
import type { LaunchOptions } from './launch.ts'
import { ModuleLoader } from './module-loader.ts'
import { ParentWatch } from './parent-watch.ts'
import { addHelp, program } from './program.ts'
import { addFlags, nameSource, readSettings } from './settings.ts'
import { IGNORED_VARIABLES, WORKER_FLAGS } from './worker-flags.ts'
import { locateWorker, parseWorkerSpec } from './worker-spec.ts'

const IGNORED = Object.entries(IGNORED_VARIABLES).map(([name, why]) => `${name} is accepted and ignored: ${why}.`)

const EPILOGUE = `
A flag beats its environment variable, which beats the default.
${IGNORED.join('\n')}

Examples:
  $ byclaw-worker --worker-class ./agent.ts#WeatherAgent --dev --watch
  $ byclaw-worker --worker-class ./agent.ts#WeatherAgent --worker-id worker-01 --redis-url redis://localhost:6379
  $ REDIS_URL=rediss://prod:6380 LOG_LEVEL=warn byclaw-worker --worker-class @acme/agents#Translator
`

function command(): Command {
  const worker = program('byclaw-worker', 'Runs an agent as a worker.').usage('--worker-class <file#Export> [options]')
  addFlags(worker, WORKER_FLAGS)
    .optionsGroup('Development:')
    .option('--dev', 'start a private Redis if none is given, and say what to try next')
    .option('--watch', 'restart the worker when code in its folder, or JSON that this imports, changes')
  return addHelp(worker).addHelpText('after', EPILOGUE)
}

/** What `byclaw-worker` does with its arguments; answers its exit code. */
export async function work(args: readonly string[]): Promise<number> {
  const env = environment()
  const given = command().parse(args, { from: 'user' }).opts()
  const settings = readSettings(WORKER_FLAGS, given, env)
  const { workerClass } = settings.values
  if (workerClass === undefined) {
    throw new UsageError('--worker-class is missing: name your agent, for instance ./agent.ts#WeatherAgent')
  }
  const spec = parseWorkerSpec(workerClass)
  const loader = new ModuleLoader()
  const options = {
    spec,
    url: locateWorker(spec, process.cwd(), loader),
    loader,
    settings,
    env,
    dev: given.dev === true,
  }
  // Set by npm for all that it starts.
  using _parent = env.npm_lifecycle_event === undefined ? undefined : new ParentWatch()
  try {
    return given.watch === true ? await watch(options, args) : await run(options)
  } catch (error) {
    throw nameSource(error, settings)
  }
}

// What runs a worker is loaded when one is to run: it takes most of the time of a start, and help and refusals need none of it.

async function run(options: LaunchOptions): Promise<number> {
  const { launch } = await import('./launch.ts')
  return launch(options)
}

async function watch(options: LaunchOptions, args: readonly string[]): Promise<number> {
  const { superviseWorker } = await import('./supervise.ts')
  return superviseWorker(options, args)
}
