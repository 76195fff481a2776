import type { Command } from 'commander'
import { checkCapability } from '../../../protocol/ids.ts'
import type { DeadLetterFilter } from '../../../store/dead-letter-filter.ts'
import { UsageError } from '../../failure.ts'
import { pointInTime } from '../../option-values.ts'

/** What the filter flags of `byclaw dead` were given. */
export interface FilterFlags {
  readonly capability?: string
  readonly session?: string
  readonly message?: string
  readonly reason?: string
  readonly text?: string
  readonly since?: number
  readonly until?: number
}

/** How the command line calls the library's names, for error messages. */
export const FILTER_NAMES = {
  ...{ capability: '--capability', sessionId: '--session', messageId: '--message', reason: '--reason' },
  ...{ text: '--text', since: '--since', until: '--until', id: '<letter>' },
} as const

/** Gives a command the flags that say which dead letters are meant. */
export function addFilterFlags(command: Command): Command {
  return command
    .option('--capability <name>', 'only of this capability')
    .option('--session <id>', 'only of this session')
    .option('--message <id>', 'only of this message')
    .option('--reason <word>', 'only with this reason: failed, bad-json, bad-body, too-many-deliveries …')
    .option('--text <text>', 'only where the detail has this text')
    .option('--since <time>', 'only what came then or later: 2h, 3d, 2026-05-01T12:00Z, Unix ms', pointInTime)
    .option('--until <time>', 'only what came then or earlier', pointInTime)
}

/** Which dead letters the flags mean. */
export function toFilter({ session, message, ...flags }: FilterFlags): DeadLetterFilter {
  const { capability, reason, text, since, until } = flags
  return { capability, reason, text, since, until, sessionId: session, messageId: message }
}

/** The same, for a command that can also be told a capability as its argument. */
export function toFilterOfCapability(flags: FilterFlags, capability: string | undefined): DeadLetterFilter {
  if (capability === undefined) return toFilter(flags)
  if (flags.capability !== undefined) throw new UsageError('<capability> and --capability exclude each other')
  return toFilter({ ...flags, capability: checkCapability('<capability>', capability) })
}

/** The same, for a command that can also be told one letter: by its id, or by that of its message. */
export function toFilterOfLetter(flags: FilterFlags, letter: string | undefined): DeadLetterFilter {
  if (letter === undefined) return toFilter(flags)
  if (/^\d+-\d+$/.test(letter)) return { ...toFilter(flags), id: letter }
  if (flags.message !== undefined) throw new UsageError('<letter> and --message exclude each other')
  return toFilter({ ...flags, message: letter })
}

/** True if no more than a capability is said. */
export function isWide({ capability: _, ...rest }: DeadLetterFilter): boolean {
  return Object.values(rest).every((value) => value === undefined)
}
