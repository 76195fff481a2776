import { compareEntryIds } from '../../src/redis/streams.ts'
import type { Finding, StoredEvent } from '../evidence.ts'
import { type DurableWork, type Work, wholeText } from '../work.ts'
import { endOf, type TaskCase } from './case.ts'

/**
 * What sessions say: each acknowledged chunk once, and in the end the words of one complete attempt. For those of
 * durable tasks see {@link checkDurable}: their chunks bear no token, because later attempts hold them back.
 */
export function checkOutput(cases: readonly TaskCase[]): Finding[] {
  return cases.flatMap((each) =>
    each.work.kind === 'durable' ? [] : [...checkAcknowledged(each), ...checkText(each, each.work)],
  )
}

function checkAcknowledged({ task, session, said, events }: TaskCase): Finding[] {
  const counts = new Map<string, number>()
  for (const { token, n } of events) {
    if (token !== undefined) counts.set(`${token}/${n}`, (counts.get(`${token}/${n}`) ?? 0) + 1)
  }
  const lost = said.filter(({ token, n }) => !counts.has(`${token}/${n}`))
  const repeated = [...counts].filter(([, count]) => count > 1)
  return [
    ...lost.map(
      ({ token, n }): Finding => ({
        check: 'output',
        ids: [session, task],
        text: `chunk ${n} of token ${token} was acknowledged to its handler and is not in the session`,
      }),
    ),
    ...repeated.map(
      ([name, count]): Finding => ({
        check: 'repeated',
        ids: [session, task],
        text: `chunk ${name} (token/number) is in the session ${count} times`,
      }),
    ),
  ]
}

function checkText(each: TaskCase, work: Exclude<Work, DurableWork>): Finding[] {
  const { task, session, events } = each
  const end = endOf(each)
  if (end === undefined) return []
  const whole = wholeText(task, work)
  const text = fold(events)
  const fits = end === 'COMPLETED' ? text === whole : whole.startsWith(text)
  if (fits) return []
  return [{ check: 'output', ids: [session, task], text: `ended ${end} and says '${text}' in place of '${whole}'` }]
}

/** The text that stands at the end. */
export function fold(events: readonly StoredEvent[]): string {
  return standing(events)
    .map(({ content }) => content)
    .join('')
}

/** The chunks that stand at the end: all in order, less what rewinds took back. */
export function standing(events: readonly StoredEvent[]): StoredEvent[] {
  let left: StoredEvent[] = []
  for (const event of events) {
    if (event.type === 'chunk') left.push(event)
    if (event.type === 'rewind') left = left.filter(({ id }) => compareEntryIds(id, event.toId) <= 0)
  }
  return left
}
