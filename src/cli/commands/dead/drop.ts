import type { Command } from 'commander'
import type { DropProgress } from '../../../client/dead-letter-options.ts'
import type { Desk } from '../../desk.ts'
import { EXIT, UsageError } from '../../failure.ts'
import { withClient } from '../../operator.ts'
import { positiveInteger } from '../../option-values.ts'
import { printRows } from '../../rows.ts'
import type { Column } from '../../table.ts'
import { addFilterFlags, FILTER_NAMES, type FilterFlags, isWide, toFilterOfLetter } from './filter.ts'
import { letters, nowAndThen } from './words.ts'

type Dropped = DropProgress['letters'][number]

const COLUMNS: readonly Column<Dropped>[] = [
  { title: 'ID', cell: ({ id }) => id },
  { title: 'CAPABILITY', cell: ({ capability }) => capability },
  { title: 'REASON', cell: ({ reason }) => reason },
  { title: 'SESSION', cell: ({ sessionId }) => sessionId || '-' },
  { title: 'MESSAGE', cell: ({ messageId }) => messageId || '-' },
]

interface DropFlags extends FilterFlags {
  readonly limit?: number
  readonly dryRun?: true
  readonly yes?: true
  readonly json?: true
}

/** `byclaw dead drop`: throws dead letters away. */
export function addDeadDrop(dead: Command): void {
  const command = dead
    .command('drop')
    .description('throw dead letters away, oldest first; their tasks stay FAILED')
    .argument('[letter]', 'the id of one, or of its message; without it all that the flags mean')
  addFilterFlags(command)
    .option('--limit <n>', 'at most so many', positiveInteger)
    .option('--dry-run', 'only say what would happen')
    .option('--yes', 'needed where nothing narrower than a capability is said')
    .option('--json', 'one JSON object per letter')
  withClient<DropFlags>(command, drop, FILTER_NAMES)
}

async function drop(desk: Desk, flags: DropFlags, [argument]: readonly string[]): Promise<number> {
  const { limit, dryRun = false, yes = false, json, ...rest } = flags
  const filter = toFilterOfLetter(rest, argument)
  if (isWide(filter) && !yes && !dryRun) {
    const whose = filter.capability === undefined ? 'all capabilities' : filter.capability
    throw new UsageError(`this drops the dead letters of ${whose}: say which ones, or --yes`)
  }
  const toPrint: Dropped[] = []
  const tell = nowAndThen(desk.remark)
  const onProgress = (progress: DropProgress) => {
    tell(`${progress.dropped} dropped so far`)
    if (json) for (const letter of progress.letters) desk.print(JSON.stringify(letter))
    else if (dryRun) toPrint.push(...progress.letters)
  }
  const { matched, dropped } = await desk.client.dropDeadLetters({ ...filter, limit, dryRun, onProgress })
  if (toPrint.length > 0) printRows(desk, COLUMNS, toPrint, { json: undefined, empty: '' })
  const say = json ? desk.remark : desk.print
  say(matched === 0 ? 'no such dead letter' : `${dryRun ? 'would drop' : 'dropped'} ${letters(dropped)}`)
  return matched === 0 && argument !== undefined ? EXIT.failure : 0
}
