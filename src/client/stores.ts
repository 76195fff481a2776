import { TaskEnder } from '../dispatch/task-ender.ts'
import type { RedisClient } from '../redis/client.ts'
import { Keys } from '../redis/keys.ts'
import { Agenda } from '../store/agenda.ts'
import { ControlWriter } from '../store/control-writer.ts'
import { DataReader } from '../store/data-reader.ts'
import { DataWriter } from '../store/data-writer.ts'
import { InboxWriter } from '../store/inbox.ts'
import { Journals } from '../store/journals.ts'
import { KinReader } from '../store/kin.ts'
import { LeftEntries } from '../store/left-entries.ts'
import { Presence } from '../store/presence.ts'
import { Queues } from '../store/queues.ts'
import { ANY_LENGTH } from '../store/retention.ts'
import { TaskRecords } from '../store/task-records.ts'
import { TaskTrees } from '../store/task-trees.ts'
import type { ResolvedClientOptions } from './options.ts'
import { WaitedRecords } from './waited-records.ts'

/** All that a client has in Redis, by noun, over its one command connection. */
export interface ClientStores {
  readonly redis: RedisClient
  readonly keys: Keys
  readonly records: TaskRecords
  readonly journals: Journals
  readonly kin: KinReader
  readonly trees: TaskTrees
  readonly control: ControlWriter
  readonly agenda: Agenda
  readonly inboxes: InboxWriter
  readonly presence: Presence
  readonly queues: Queues
  readonly reader: DataReader
  readonly ender: TaskEnder
}

export function openStores(redis: RedisClient, options: ResolvedClientOptions): ClientStores {
  const keys = new Keys(options.keyPrefix)
  const { resultTtlMs, streamTtlMs } = options
  const writer = new DataWriter(redis, keys, { resultTtlMs, streamTtlMs, streamMaxLength: ANY_LENGTH })
  const agenda = new Agenda(redis, keys)
  const kin = new KinReader(redis, keys)
  const plain = new TaskRecords(redis, keys)
  const leftEntries = new LeftEntries(redis, keys, plain)
  const ender = new TaskEnder({ records: plain, writer, agenda, leftEntries })
  const records = new WaitedRecords(redis, keys, ender)
  return {
    ...{ redis, keys, records, kin, agenda },
    control: new ControlWriter(redis, keys),
    journals: new Journals(redis, keys),
    trees: new TaskTrees(redis, keys, kin),
    inboxes: new InboxWriter(redis, keys),
    presence: new Presence(redis, keys),
    queues: new Queues(redis, keys),
    reader: new DataReader(redis, keys),
    ender,
  }
}
