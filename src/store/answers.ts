import type { TaskRef } from '../protocol/ids.ts'
import type { Keys, LaneName } from '../redis/keys.ts'
import { Batchers } from '../util/batchers.ts'
import type { ControlWriter } from './control-writer.ts'
import type { InboxWriter } from './inbox.ts'

/** Who must be told that a result has come: see lua/include/answers.lua. */
export type Tell =
  /** The worker that runs the waiting task; `text` is the result, or '' if it must be read. */
  | {
      readonly kind: 'wake'
      readonly task: TaskRef
      readonly op: string
      readonly owner: string
      readonly text: string
    }
  /** Nobody runs the waiting task: its envelope goes to its control stream. */
  | {
      readonly kind: 'resume'
      readonly task: TaskRef
      readonly turn: string
      readonly capability: string
      readonly priority: LaneName
      readonly data: string
    }

/** A tell as a script answers it: record, operation, kind and what the kind needs. */
export type RawTell = readonly string[]

export function toTells(keys: Keys, raw: readonly RawTell[]): Tell[] {
  return raw.flatMap(([record = '', op = '', kind, ...rest]): Tell[] => {
    const task = keys.parseTask(record)
    if (task === null) return []
    if (kind === 'wake') {
      const [owner = '', text = ''] = rest
      return [{ kind, task, op, owner, text }]
    }
    if (kind !== 'resume') return []
    const [turn = '', home = '', data = ''] = rest
    const [capability = '', priority = 'normal'] = home.split(' ')
    return [{ kind, task, turn, capability, priority: priority as LaneName, data }]
  })
}

type Resume = Tell & { readonly kind: 'resume' }

/** Tells those who wait for results. The results lie in Redis already; doing this twice does no harm. */
export class Answers {
  /** Many that come back at once to one lane share a call; what waits for a node of a Cluster that is away keeps no others. */
  readonly #resumes: Batchers<Resume, unknown>
  readonly #inboxes: InboxWriter

  constructor(control: ControlWriter, inboxes: InboxWriter) {
    this.#resumes = new Batchers<Resume, unknown>(({ capability, priority }) => `${capability} ${priority}`, {
      maxItems: 100,
      maxInFlight: 4,
      run: async (items) => [...(await control.enqueue(items))],
    })
    this.#inboxes = inboxes
  }

  async tell(tells: readonly Tell[]): Promise<void> {
    await Promise.all(
      tells.map(
        (tell): Promise<unknown> => (tell.kind === 'wake' ? this.#inboxes.reply(tell) : this.#resumes.add(tell)),
      ),
    )
  }
}
