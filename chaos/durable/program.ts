import type { DurableWork } from '../work.ts'

/** One thing that the handler of a durable task does; it does them one after the other. */
export type Act =
  /** Emits `count` chunks, `pauseMs` apart. */
  | { readonly do: 'say'; readonly count: number; readonly pauseMs: number }
  /** Calls an agent and waits for its answer, at most `timeoutMs`. */
  | { readonly do: 'call'; readonly work: DurableWork; readonly timeoutMs?: number }
  /** Calls agents side by side and waits for all of them. */
  | { readonly do: 'all'; readonly works: readonly DurableWork[] }
  /** The same, and waits for the first only, or for the others after it. */
  | { readonly do: 'race'; readonly works: readonly DurableWork[]; readonly waitsForAll: boolean }
  | { readonly do: 'group'; readonly works: readonly DurableWork[]; readonly failFast: boolean }
  /** Calls an agent for whose answer nobody waits. */
  | { readonly do: 'send'; readonly work: DurableWork }
  /** Asks a person, who answers with the prompt. */
  | { readonly do: 'ask'; readonly timeoutMs?: number }
  /** A step that emits `count` chunks, `pauseMs` apart, and answers, or throws, what nobody can guess. */
  | { readonly do: 'step'; readonly count: number; readonly pauseMs: number; readonly throws?: boolean }
  | { readonly do: 'sleep'; readonly ms: number }
  /** Time, chance and a name, which are the same whenever the handler runs. */
  | { readonly do: 'values' }
  /** Fails, the first `times` attempts. */
  | { readonly do: 'trip'; readonly times: number }
  /** Fails for good. */
  | { readonly do: 'fail' }

/** What came of the operations whose outcome the program does not settle, by the path of the act. */
export type Marks = Readonly<Record<string, string>>

/** One chunk that a task is to say: its text up to the mark, and which marks may follow (none: the text is all of it). */
export interface Line {
  readonly head: string
  readonly path: string
  /** Fits a mark, where it depends on more than the program. */
  readonly mark?: RegExp
}

const ANY_VALUE = /^[\w.:-]+$/

/** All that a complete attempt of a task says, line by line. */
export function linesOf(task: string, { acts }: DurableWork): Line[] {
  return acts.flatMap((act, index): Line[] => {
    const path = String(index)
    const marked = (mark: RegExp, of = path): Line => ({ head: `${task}/${of}=`, path: of, mark })
    switch (act.do) {
      case 'say':
      case 'step': {
        const said = Array.from({ length: act.count }, (_, n) => ({ head: `${task}/${path}.${n};`, path }))
        return act.do === 'say' ? said : [...said, marked(ANY_VALUE)]
      }
      case 'call':
        return [marked(answers(act.work, act.timeoutMs !== undefined))]
      case 'all':
        return act.works.map((work, n) => marked(answers(work, false), `${path}.${n}`))
      case 'group': {
        const isBroken = act.failFast && act.works.some((work) => fails(work))
        return act.works.map((work, n) => marked(answers(work, false, isBroken), `${path}.${n}`))
      }
      case 'race':
        return [
          marked(new RegExp(`^[0-${act.works.length - 1}]$`)),
          ...(act.waitsForAll ? act.works.map((work, n) => marked(answers(work, false), `${path}.${n}`)) : []),
        ]
      case 'ask':
        return [marked(act.timeoutMs === undefined ? /^ok$/ : /^(ok|TIMEOUT)$/)]
      case 'values':
        return [marked(ANY_VALUE)]
      default:
        return []
    }
  })
}

/** The marks that an answer of a called task may leave. */
function answers(work: DurableWork, mayTimeOut: boolean, mayBeCancelled = false): RegExp {
  const marks = [
    fails(work) ? 'FAILED' : 'ok',
    ...(mayTimeOut ? ['TIMEOUT'] : []),
    ...(mayBeCancelled ? ['CANCELLED'] : []),
  ]
  return new RegExp(`^(${marks.join('|')})$`)
}

/** True if a task ends FAILED when nobody cancels it. */
export function fails({ acts }: DurableWork): boolean {
  return acts.some((act) => act.do === 'fail')
}

/** The works of the tasks that a task calls itself. */
export function calledBy({ acts }: DurableWork): DurableWork[] {
  return acts.flatMap((act) => ('work' in act ? [act.work] : 'works' in act ? act.works : []))
}

/**
 * Why chunks are not what a task was to say, or null if they are. `isWhole`: they must be all of it; else they may end
 * early, and a call may have ended as CANCELLED.
 */
export function faultOf(task: string, work: DurableWork, chunks: readonly string[], isWhole: boolean, marks?: Marks) {
  const lines = linesOf(task, work)
  for (const [index, text] of chunks.entries()) {
    const line = lines[index]
    if (line === undefined) return `says '${text}' after its last word`
    if (!fits(line, text, isWhole)) return `says '${text}' in place of '${line.head}${line.mark ?? ''}'`
    if (line.mark !== undefined && marks !== undefined && `${line.head}${marks[line.path]};` !== text) {
      return `says '${text}', but its result has '${marks[line.path]}' there`
    }
  }
  return isWhole && chunks.length < lines.length ? `says ${chunks.length} of ${lines.length} chunks` : null
}

function fits({ head, mark }: Line, text: string, isWhole: boolean): boolean {
  if (mark === undefined) return text === head
  if (!text.startsWith(head) || !text.endsWith(';')) return false
  const found = text.slice(head.length, -1)
  return mark.test(found) || (!isWhole && found === 'CANCELLED')
}

/** Text as its chunks: each ends with a semicolon. */
export function toChunks(text: string): string[] {
  return text.match(/[^;]*;|[^;]+$/g) ?? []
}
