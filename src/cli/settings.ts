import { type Command, Option } from 'commander'
import { GatewayError } from '../errors.ts'
import { type Environment, settingOf } from '../redis/variables.ts'
import { readText } from '../util/read-text.ts'
import type { FlagValues, WorkerFlag } from './worker-flags.ts'

/** Where a value came from: the flag or the variable, as one writes it. */
export interface Source {
  readonly name: string
  readonly kind: 'flag' | 'environment'
}

/** What was given, and where each value came from. What nobody gave is missing: its default is the library's affair. */
export interface Settings {
  readonly values: FlagValues
  readonly sources: ReadonlyMap<string, Source>
}

/** Gives a command the flags of the table. */
export function addFlags(command: Command, flags: readonly WorkerFlag[]): Command {
  for (const { flag, env, kind, group, help } of flags) {
    command.addOption(new Option(flag, `${help} (${env})`).helpGroup(`${group}:`))
    if (kind === 'switch') command.addOption(new Option(flag.replace('--', '--no-')).hideHelp())
  }
  return command
}

/**
 * Reads the settings: a flag beats the environment.
 *
 * @param given - What commander parsed, by option.
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the flag or the variable.
 */
export function readSettings(
  flags: readonly WorkerFlag[],
  given: Readonly<Record<string, unknown>>,
  env: Environment,
): Settings {
  const values: Record<string, unknown> = {}
  const sources = new Map<string, Source>()
  for (const row of flags) {
    const byFlag = given[row.option]
    const text = byFlag === undefined ? env[row.env] || undefined : String(byFlag)
    if (text === undefined) continue
    const source: Source =
      byFlag === undefined ? { name: row.env, kind: 'environment' } : { name: flagName(row), kind: 'flag' }
    sources.set(row.option, source)
    values[row.option] = readText(row.kind, text, source.name)
  }
  return { values, sources }
}

/**
 * The same error with the name of the flag or the variable in place of the library's, so that one knows where to look.
 *
 * @param others - Names of what is no setting of the table.
 */
export function nameSource(
  error: unknown,
  { sources }: Settings,
  others: Readonly<Record<string, string>> = {},
): unknown {
  if (!(error instanceof GatewayError) || error.code !== 'GW_INVALID_ARGUMENT') return error
  const option = optionOf(String(error.details.field))
  const field = sources.get(option)?.name ?? others[option]
  if (field === undefined) return error
  return new GatewayError('GW_INVALID_ARGUMENT', { ...error.details, field }, { cause: error })
}

/** The pieces of options that have a setting of their own; see `plainOptions`. */
const PIECES: Readonly<Record<string, string>> = {
  'retry.maxAttempts': 'retryMaxAttempts',
  'retry.backoff.delayMs': 'retryDelayMs',
  'retry.backoff.maxDelayMs': 'retryMaxDelayMs',
  version: 'agentVersion',
}

/** The setting that a field of the library's options came from. */
function optionOf(field: string): string {
  const [first = ''] = field.split('.')
  return first === 'redis' ? settingOf(field) : (PIECES[field] ?? first)
}

function flagName({ flag }: WorkerFlag): string {
  return flag.split(' ')[0] ?? flag
}
