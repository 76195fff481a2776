import type { Command } from 'commander'
import { GatewayError } from '../errors.ts'
import type { Desk } from './desk.ts'
import { environment } from './env.ts'
import { addFlags, nameSource, readSettings } from './settings.ts'
import { CONNECTION_FLAGS, type WorkerFlag } from './worker-flags.ts'

/** What a command does; answers its exit code. */
export type Action<Options> = (desk: Desk, options: Options, args: readonly string[]) => Promise<number>

/**
 * Lets a command work with a client, and gives it the flags for the connection.
 *
 * @param fields - How the command line calls what the library calls otherwise, for error messages.
 * @param more - Further settings that it has, such as where the history is.
 */
export function withClient<Options extends object>(
  command: Command,
  action: Action<Options>,
  fields: Readonly<Record<string, string>> = {},
  more: readonly WorkerFlag[] = [],
): void {
  const flags = [...CONNECTION_FLAGS, ...more]
  addFlags(command, flags).action(async () => {
    const env = environment()
    const options = command.opts<Options>()
    refuseBlanks(command)
    const settings = readSettings(flags, command.opts(), env)
    // Only now: what works with Redis takes most of the time of a start, and help and refusals need none of it.
    const { atDesk } = await import('./desk.ts')
    try {
      process.exitCode = await atDesk(settings, env, (desk) => action(desk, options, command.args))
    } catch (error) {
      throw nameSource(error, settings, fields)
    }
  })
}

/** A text of blanks says nothing: the command would do as it pleases where one believes to have said what is meant. */
function refuseBlanks(command: Command): void {
  for (const option of command.options) {
    const value: unknown = command.getOptionValue(option.attributeName())
    if (typeof value !== 'string' || value.trim() !== '') continue
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: option.long, value, reason: 'must not be blank' })
  }
}
