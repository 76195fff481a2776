#!/usr/bin/env node
import type { Command } from 'commander'
import { environment } from './env.ts'
import { UsageError } from './failure.ts'
import { outliveReaders } from './interruption.ts'
import { launch } from './launch.ts'
import { addHelp, program, runToEnd } from './program.ts'
import { redisOption } from './redis-settings.ts'
import { addFlags, readSettings } from './settings.ts'
import { superviseWorker } from './supervise.ts'
import { IGNORED_VARIABLES, WORKER_FLAGS } from './worker-flags.ts'
import { parseWorkerSpec } from './worker-spec.ts'

const NAME = 'byclaw-worker'

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
  const worker = program(NAME, 'Runs an agent as a worker.').usage('--worker-class <file#Export> [options]')
  addFlags(worker, WORKER_FLAGS)
    .optionsGroup('Development:')
    .option('--dev', 'start a private Redis if none is given, and say what to try next')
    .option('--watch', 'restart the worker when code in its folder, or JSON that this imports, changes')
  return addHelp(worker).addHelpText('after', EPILOGUE)
}

async function main(args: readonly string[]): Promise<number> {
  const env = environment()
  const given = command().parse(args, { from: 'user' }).opts()
  const settings = readSettings(WORKER_FLAGS, given, env)
  const { workerClass } = settings.values
  if (workerClass === undefined) {
    throw new UsageError('--worker-class is missing: name your agent, for instance ./agent.ts#WeatherAgent')
  }
  const options = { spec: parseWorkerSpec(workerClass), settings, env, dev: given.dev === true }
  if (given.watch !== true) return launch(options)
  return superviseWorker({ ...options, needsRedis: options.dev && redisOption(settings) === undefined, args })
}

outliveReaders()
await runToEnd(NAME, () => main(process.argv.slice(2)))
