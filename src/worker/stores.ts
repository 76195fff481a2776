import { TaskEnder } from '../dispatch/task-ender.ts'
import type { RedisClient } from '../redis/client.ts'
import { Keys } from '../redis/keys.ts'
import { Agenda } from '../store/agenda.ts'
import { ControlLeases } from '../store/control-leases.ts'
import { ControlWriter } from '../store/control-writer.ts'
import { DataReader } from '../store/data-reader.ts'
import { DataWriter } from '../store/data-writer.ts'
import { DeadLetters } from '../store/dead-letters.ts'
import { InboxWriter } from '../store/inbox.ts'
import { Journals } from '../store/journals.ts'
import { KinReader } from '../store/kin.ts'
import { LeftEntries } from '../store/left-entries.ts'
import { Presence } from '../store/presence.ts'
import { Stages } from '../store/stages.ts'
import { TaskRecords } from '../store/task-records.ts'
import { type ResolvedWorkerOptions, versionsOf } from './options.ts'

/** All that a worker has in Redis, by noun, over its one command connection. */
export interface WorkerStores {
  readonly keys: Keys
  readonly records: TaskRecords
  readonly reader: DataReader
  readonly writer: DataWriter
  readonly control: ControlWriter
  readonly leases: ControlLeases
  readonly kin: KinReader
  readonly agenda: Agenda
  readonly leftEntries: LeftEntries
  readonly stages: Stages
  readonly inboxes: InboxWriter
  readonly deadLetters: DeadLetters
  readonly presence: Presence
  readonly ender: TaskEnder
  readonly journals: Journals
}

export function openStores(redis: RedisClient, options: ResolvedWorkerOptions): WorkerStores {
  const keys = new Keys(options.keyPrefix)
  const records = new TaskRecords(redis, keys, versionsOf(options))
  const writer = new DataWriter(redis, keys, options, { group: options.consumerGroup })
  const agenda = new Agenda(redis, keys)
  const leftEntries = new LeftEntries(redis, keys, records)
  return {
    ...{ keys, records, writer, agenda, leftEntries },
    control: new ControlWriter(redis, keys),
    reader: new DataReader(redis, keys),
    leases: new ControlLeases(redis, options.consumerGroup, options.workerId),
    kin: new KinReader(redis, keys),
    stages: new Stages(redis, keys),
    inboxes: new InboxWriter(redis, keys),
    deadLetters: new DeadLetters(redis, keys),
    presence: new Presence(redis, keys),
    ender: new TaskEnder({ records, writer, agenda, leftEntries }),
    journals: new Journals(redis, keys),
  }
}
