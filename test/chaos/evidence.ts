import type { Evidence, Snapshot, StoredEvent, StoredTask } from '../../chaos/evidence.ts'
import type { Entry, Note } from '../../chaos/journal.ts'
import type { ReaderPlan } from '../../chaos/plan.ts'
import { chunkText, type Work } from '../../chaos/work.ts'

/** Begin of the time of all evidence made here. */
const T0 = 1_700_000_000_000

/** Evidence to be made by hand: begins empty, and everything can be put in, taken out and changed. */
export class Scene {
  journal: Entry[] = []
  events: StoredEvent[] = []
  readonly tasks = new Map<string, StoredTask>()
  readonly rest: { -readonly [Name in 'control' | 'letters' | 'keys']: Snapshot[Name][number][] } = {
    ...{ control: [], letters: [], keys: [] },
  }
  readonly readers: ReaderPlan[] = []
  #at = T0

  /** Writes down what somebody saw or did; time goes on by 10 ms. */
  note(note: Note): this {
    this.#at += 10
    this.journal.push({ at: this.#at, ...note } as Entry)
    return this
  }

  /** Puts an event into the session's stream; time goes on by 10 ms. */
  event(event: Partial<StoredEvent> & { readonly type: string }, task = 't1'): string {
    this.#at += 10
    const id = event.id ?? `${this.#at}-0`
    const nothing = { content: '', token: undefined, n: undefined, toId: '', status: '' }
    this.events.push({ ...nothing, task, ...event, id })
    return id
  }

  /** A handler begins with a token. */
  start(token: number, attempt = 1, task = 't1'): this {
    return this.note({ kind: 'start', task, token, attempt, worker: 'w', pid: 1 })
  }

  /** A handler says chunk `n`, and Redis has it. */
  chunk(token: number, n: number, task = 't1'): string {
    const id = this.event({ type: 'chunk', token, n, content: chunkText(task, n) }, task)
    this.note({ kind: 'said', task, token, n })
    return id
  }

  send(work: Work, status = 'QUEUED', mayExpire = false): this {
    this.note({ kind: 'send', task: 't1', session: 's1', work, mayExpire })
    return this.note({ kind: 'answer', task: 't1', status })
  }

  /** The record, as it stands at the end. */
  record(state: string, epoch: number, more: Partial<StoredTask> = {}): this {
    const rest = { errorCode: '', resultToken: state === 'C' ? epoch : undefined, parent: '' }
    this.tasks.set('t1', { task: 't1', session: 's1', state, epoch, ...rest, ...more })
    return this
  }

  evidence(): Evidence {
    const { journal, tasks, rest, readers } = this
    return { journal, readers, redis: { sessions: new Map([['s1', this.events]]), tasks, ...rest } }
  }
}

/** A task of three chunks whose first worker died after one of them and whose second one completed it. */
export function goodScene(): Scene {
  const scene = new Scene().send({ kind: 'chunks', count: 3, pauseMs: 0 }).start(1)
  const first = scene.chunk(1, 0)
  scene.start(2)
  const ids = [first, scene.event({ type: 'rewind', toId: '0-0' })]
  for (const n of [0, 1, 2]) ids.push(scene.chunk(2, n))
  scene.note({ kind: 'end', task: 't1', token: 2, how: 'returned' })
  ids.push(scene.event({ type: 'done', status: 'COMPLETED' }))
  scene.record('C', 2)
  scene.readers.push({ reader: 'r1', session: 's1', atMs: 0 })
  for (const id of ids) scene.note({ kind: 'seen', reader: 'r1', id, type: typeOf(scene, id) })
  scene.note({ kind: 'read', reader: 'r1', how: 'stopped' })
  scene.rest.control.push({ stream: 'ctrl', length: 0, pending: 0, owners: [] })
  scene.rest.keys.push({ key: 'record', type: 'hash', ttlMs: 1_000 })
  return scene
}

function typeOf({ events }: Scene, id: string): string {
  return events.find((event) => event.id === id)?.type ?? ''
}
