import { AsyncLocalStorage } from 'node:async_hooks'
import type { DurableResources } from '../../../src/context/durable/durable-task.ts'
import { WaitDesk } from '../../../src/context/durable/wait-desk.ts'
import { Canceller } from '../../../src/dispatch/canceller.ts'
import { TaskEnder } from '../../../src/dispatch/task-ender.ts'
import type { RedisClient } from '../../../src/redis/client.ts'
import type { Keys } from '../../../src/redis/keys.ts'
import { Agenda } from '../../../src/store/agenda.ts'
import { DataReader } from '../../../src/store/data-reader.ts'
import { DataWriter } from '../../../src/store/data-writer.ts'
import { InboxWriter } from '../../../src/store/inbox.ts'
import { Journals } from '../../../src/store/journals.ts'
import { KinReader } from '../../../src/store/kin.ts'
import { LeftEntries } from '../../../src/store/left-entries.ts'
import { DEFAULT_RETENTION } from '../../../src/store/retention.ts'
import { TaskRecords } from '../../../src/store/task-records.ts'
import { memoryLogger } from '../../worker/harness.ts'

/** What durable operations need, on the Redis of a test. */
export function durableResources(redis: RedisClient, keys: Keys): DurableResources {
  const records = new TaskRecords(redis, keys)
  const agenda = new Agenda(redis, keys)
  const inboxes = new InboxWriter(redis, keys)
  const writer = new DataWriter(redis, keys, DEFAULT_RETENTION)
  const ender = new TaskEnder({ records, writer, agenda, leftEntries: new LeftEntries(redis, keys, records) })
  return {
    ...{ agenda, inboxes, journals: new Journals(redis, keys), reader: new DataReader(redis, keys) },
    canceller: new Canceller({ records, kin: new KinReader(redis, keys), ender, inboxes, logger: memoryLogger() }),
    ...{ desk: new WaitDesk(), scopes: new AsyncLocalStorage() },
    ...{ suspendAfterMs: 30_000, maxPayloadBytes: 1_048_576, streamTtlMs: 60_000, streamMaxLength: 100_000 },
  }
}
