import type { Command } from 'commander'
import type { RedriveProgress, RedriveResult } from '../../../client/dead-letter-options.ts'
import type { RedrivenLetter } from '../../../dispatch/redrive.ts'
import type { Desk } from '../../desk.ts'
import { EXIT } from '../../failure.ts'
import { withClient } from '../../operator.ts'
import { positiveInteger, positiveNumber } from '../../option-values.ts'
import { printRows } from '../../rows.ts'
import { readStdin } from '../../stdin.ts'
import type { Column } from '../../table.ts'
import { addFilterFlags, FILTER_NAMES, type FilterFlags, toFilterOfLetter } from './filter.ts'
import { letters, nowAndThen } from './words.ts'

const COLUMNS: readonly Column<RedrivenLetter>[] = [
  { title: 'ID', cell: ({ id }) => id },
  { title: 'CAPABILITY', cell: ({ capability }) => capability },
  { title: 'SESSION', cell: ({ sessionId }) => sessionId || '-' },
  { title: 'MESSAGE', cell: ({ messageId }) => messageId || '-' },
  { title: 'OUTCOME', cell: outcomeText },
]

interface RedriveFlags extends FilterFlags {
  readonly limit?: number
  readonly rate?: number
  readonly data?: string
  readonly dryRun?: true
  readonly json?: true
}

/** `byclaw dead redrive`: sends dead letters once more. */
export function addDeadRedrive(dead: Command): void {
  const command = dead
    .command('redrive')
    .description('send dead letters once more, oldest first: same ids, same history, a fresh budget of attempts')
    .argument('[letter]', 'the id of one, or of its message; without it all that the flags mean')
  addFilterFlags(command)
    .option('--limit <n>', 'at most so many', positiveInteger)
    .option('--rate <n>', 'at most so many a second', positiveNumber)
    .option('--data <envelope>', 'send this instead, for one letter; - reads it from stdin')
    .option('--dry-run', 'only say what would happen')
    .option('--json', 'one JSON object per letter')
  withClient<RedriveFlags>(command, redrive, { ...FILTER_NAMES, data: '--data', ratePerSecond: '--rate' })
}

async function redrive(desk: Desk, flags: RedriveFlags, [argument]: readonly string[]): Promise<number> {
  const { limit, rate, data, dryRun = false, json, ...filter } = flags
  const toPrint: RedrivenLetter[] = []
  const tell = nowAndThen(desk.remark)
  const onProgress = (progress: RedriveProgress) => {
    tell(`${progress.redriven} redriven, ${progress.skipped} skipped so far`)
    if (json) for (const letter of progress.letters) desk.print(JSON.stringify(letter))
    else if (dryRun) toPrint.push(...progress.letters)
  }
  const result = await desk.client.redriveDeadLetters({
    ...{ ...toFilterOfLetter(filter, argument), limit, ratePerSecond: rate, dryRun, onProgress },
    data: data === '-' ? await readStdin() : data,
  })
  if (!dryRun) toPrint.push(...result.skipped)
  if (!json && toPrint.length > 0) printRows(desk, COLUMNS, toPrint, { json: undefined, empty: '' })
  const say = json ? desk.remark : desk.print
  say(result.matched === 0 ? 'no such dead letter' : summary(result, dryRun))
  return result.matched === 0 && argument !== undefined ? EXIT.failure : 0
}

function summary({ matched, redriven, skipped }: RedriveResult, dryRun: boolean): string {
  const counts = new Map<string, number>()
  for (const { outcome } of skipped) counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
  const reasons = [...counts].map(([outcome, count]) => `${count} ${outcome}`).join(', ')
  const done = `${dryRun ? 'would redrive' : 'redriven'} ${redriven} of ${letters(matched)}`
  return reasons === '' ? done : `${done}, skipped ${skipped.length}: ${reasons}`
}

function outcomeText({ outcome, isRemoved }: RedrivenLetter): string {
  if (outcome === 'redriven' || outcome === 'gone') return outcome
  return `${outcome}, letter ${isRemoved ? 'removed' : 'kept'}`
}
