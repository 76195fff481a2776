import { runApart } from '../redis/apart.ts'
import type { LaneName } from '../redis/keys.ts'
import type { Agenda } from '../store/agenda.ts'
import type { Appointment } from '../store/agenda-items.ts'
import type { ControlWriter, Departure } from '../store/control-writer.ts'
import { epochOf, isEnded, ownerOf } from '../store/fence.ts'
import type { InboxWriter } from '../store/inbox.ts'
import type { AdmitAnswer, TaskAdmission, TaskOutline, TaskRecords } from '../store/task-records.ts'
import { Batcher, type BatcherOptions } from '../util/batcher.ts'
import { Batchers } from '../util/batchers.ts'
import type { TaskEnder } from './task-ender.ts'

/** Where sends are gathered into batches. */
interface Departures<Result> {
  add(departure: Departure): Promise<Result>
}

// Measured with 100 sends in flight: in batches of 100 client and server wait for each other, and a third less goes out.
const IN_BATCHES = { maxItems: 16, maxInFlight: 8 }
const weigh = ({ data }: Departure) => data.length
const sessionOf = ({ task }: Departure) => task.sessionId

/** The ways of a first send. */
export function openDepartures(parts: {
  control: ControlWriter
  records: TaskRecords
  agenda: Agenda
  inboxes: InboxWriter
  ender: TaskEnder
  isCluster: boolean
}): {
  /** Onto the stream; null where there was no room. */
  readonly plain: Departures<AdmitAnswer | null>
  /** Tasks that are held back. */
  readonly delayed: Departures<AdmitAnswer>
  /** Tasks that are on their streams and expire if they stay there. */
  readonly expiring: Departures<undefined>
} {
  const { control, records, agenda, ender, isCluster } = parts
  const timed = <Result>(run: (batch: readonly Departure[]) => Promise<readonly Result[]>): Departures<Result> => {
    const batches: BatcherOptions<Departure, Result> = {
      ...{ maxItems: 100, maxInFlight: 4, weigh },
      run: (all) => runApart(all, run),
    }
    return isCluster ? new Batchers(sessionOf, batches) : new Batcher(batches)
  }
  const expiring = timed(async (batch) => {
    await note(batch, parts)
    // A worker that was quicker found nothing to strike out.
    const outlines = await Promise.all(batch.map(({ task }) => records.peek(task)))
    const needless = outlines.filter((task) => task !== null && isEnded(task.fence) && ownerOf(task.fence) !== '')
    await Promise.all(needless.map((task) => agenda.strikeOut(task as TaskOutline, { expiry: true })))
    return batch.map(() => undefined)
  })
  return {
    plain: isCluster ? twoSteps(control, records, ender) : oneStep(control),
    delayed: timed((batch) => (isCluster ? holdInTwoSteps : holdInOneStep)(batch, parts)),
    expiring,
  }
}

/** A first send with no terms. No literal; see `deferred`. */
export class Leaving implements Departure {
  readonly task: TaskAdmission
  readonly data: string
  readonly priority: LaneName

  constructor(task: TaskAdmission, data: string, priority: LaneName) {
    this.task = task
    this.data = data
    this.priority = priority
  }
}

/** On a single Redis the entries and the records are written together. */
function oneStep(control: ControlWriter): Departures<AdmitAnswer | null> {
  return new Batcher<Departure, AdmitAnswer | null>({
    ...{ ...IN_BATCHES, weigh },
    run: (all) => runApart(all, (batch) => control.send(batch)),
  })
}

/**
 * On a Cluster they lie in different slots. The entry first: without a record it is still a task (`begin` admits it),
 * whereas a record without an entry would wait for ever. While a node is away, only what has to go there waits for it.
 */
function twoSteps(control: ControlWriter, records: TaskRecords, ender: TaskEnder): Departures<AdmitAnswer | null> {
  const entries = new Batchers<Departure, string | null>(({ task, priority }) => `${task.agentType} ${priority}`, {
    ...{ ...IN_BATCHES, weigh },
    run: (all) =>
      runApart(all, (batch) =>
        control.enqueue(batch.map(({ task, ...entry }) => ({ capability: task.agentType, ...entry }))),
      ),
  })
  const admissions = new Batchers<Departure, AdmitAnswer>(sessionOf, {
    ...IN_BATCHES,
    run: (all) => runApart(all, (batch) => records.admit(batch.map(({ task }) => task))),
  })
  return {
    add: async (departure) => {
      const entryId = await entries.add(departure)
      if (entryId === null) return null
      const answer = await admissions.add(departure)
      const isSentAgain = answer === false
      if (isSentAgain) await ender.takeBack(departure, entryId)
      return answer
    },
  }
}

/** What those who hold tasks back need. */
interface Holding {
  readonly agenda: Agenda
  readonly inboxes: InboxWriter
}

interface HoldingApart extends Holding {
  readonly records: TaskRecords
  readonly ender: TaskEnder
}

/** On a single Redis records and appointments are made together. */
async function holdInOneStep(
  batch: readonly Departure[],
  { agenda, inboxes }: Holding,
): Promise<readonly AdmitAnswer[]> {
  const tasks = batch.map((departure) => ({ task: departure.task, appointments: appointments(departure) }))
  const { admitted, keepers } = await agenda.hold(tasks)
  await inboxes.wakeKeepers(keepers)
  return admitted
}

/**
 * On a Cluster they lie in different slots. The record first: what is due without one would be struck out. Without its
 * appointment a record waits for the sender, who was not told that it is accepted, to send again, or for the doctor.
 */
async function holdInTwoSteps(batch: readonly Departure[], parts: HoldingApart): Promise<readonly AdmitAnswer[]> {
  const admitted = await parts.records.admit(batch.map(({ task }) => task))
  const goesOn = await Promise.all(
    batch.map(async ({ task }, index) => {
      if (admitted[index] !== false) return true
      // Sent again. What has begun by now needs no first turn, and would be buried if its record is gone when that comes.
      const outline = await parts.records.peek(task)
      return outline === null || (epochOf(outline.fence) === '0' && !isEnded(outline.fence))
    }),
  )
  const noted = batch.filter((_, index) => goesOn[index])
  await note(noted, parts)
  await Promise.all(noted.map(({ task }) => tidyEnded(task, parts)))
  return admitted
}

/** Who cancelled the task between the two steps found nothing noted that he could take back. */
async function tidyEnded(task: TaskAdmission, { records, ender }: HoldingApart): Promise<void> {
  const outline = await records.peek(task)
  if (outline !== null && isEnded(outline.fence) && ownerOf(outline.fence) === '')
    await ender.tidy(outline, 'CANCELLED')
}

async function note(batch: readonly Departure[], { agenda, inboxes }: Holding): Promise<void> {
  if (batch.length > 0) await inboxes.wakeKeepers(await agenda.add(batch.flatMap(appointments)))
}

/** What is to be done later with a task: put it on its stream, end it if it has not started. */
function appointments({ task, data, priority }: Departure): Appointment[] {
  const { sessionId, messageId, agentType: capability, delayMs, expiresInMs } = task
  const ready = { kind: 'ready', turn: '0', sessionId, messageId, capability, priority, data } as const
  const expiry = { kind: 'expiry', sessionId, messageId, priority } as const
  return [
    ...(delayMs === undefined ? [] : [{ item: ready, delayMs }]),
    ...(expiresInMs === undefined ? [] : [{ item: expiry, delayMs: expiresInMs }]),
  ]
}
