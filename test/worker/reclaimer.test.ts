import { expect, test } from 'vitest'
import { createLogger } from '../../src/logger.ts'
import { ControlLeases } from '../../src/store/control-leases.ts'
import { lanesOf } from '../../src/store/control-streams.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { deferred } from '../../src/util/deferred.ts'
import { sleep } from '../../src/util/sleep.ts'
import { Reclaimer } from '../../src/worker/reclaimer.ts'
import { Slots } from '../../src/worker/slots.ts'
import { connect, openStore } from '../redis/harness.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { House, memoryLogger } from './harness.ts'

const LEASE_MS = 1_000
const GROUP = 'g'

/** Lets something happen between meeting Redis and the next walk. */
class Interrupted extends ControlLeases {
  between: (() => Promise<unknown>) | undefined

  override async reach(): Promise<void> {
    await super.reach()
    const { between } = this
    this.between = undefined
    await between?.()
  }
}

test('a walk that was held up takes nothing from the living, nor does the one after it; what the dead left goes on', async () => {
  const { redis: bare, keys, url } = await House.private()
  const key = keys.control('agent')
  await bare.xgroup('CREATE', key, GROUP, '0', 'MKSTREAM')
  const ids: string[] = []
  for (const consumer of ['living', 'dead']) {
    ids.push((await bare.xadd(key, '*', 'data', '{}')) ?? '')
    await bare.xreadgroup('GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS', key, '>')
  }
  const [alive = '', orphan = ''] = ids
  const redis = connect(url).client('patient')
  const leases = new Interrupted(redis, GROUP, 'heir')
  const taken: string[] = []
  const reclaimer = new Reclaimer({
    ...{ leases, streams: lanesOf(['agent'], keys), slots: new Slots(10), leaseMs: LEASE_MS },
    accept: (entries) => taken.push(...entries.map(({ id }) => id)),
    logger: createLogger('silent'),
  })
  onTestFinished(() => reclaimer.stop())
  await reclaimer.start()
  const renew = (consumer: string, id: string) => bare.xclaim(key, GROUP, consumer, 0, id, 'JUSTID')
  // No longer new to it, and the clock of the server is known.
  for (let quarter = 0; quarter < 4; quarter += 1) {
    await Promise.all([renew('living', alive), renew('dead', orphan)])
    await sleep(LEASE_MS / 4)
  }
  const heldUp = deferred()
  leases.between = async () => {
    await bare.call('CLIENT', 'PAUSE', 1.5 * LEASE_MS, 'ALL')
    heldUp.resolve()
  }
  await heldUp.promise
  await bare.ping()
  // The living has to connect again.
  await sleep(LEASE_MS * 0.4)
  while (taken.length === 0) {
    await renew('living', alive)
    await sleep(LEASE_MS / 4)
  }
  expect(taken).toEqual([orphan])
})

test('what was taken over runs also where another lane cannot be walked, which is said', async () => {
  const { redis, keys, bare } = openStore()
  const streams = lanesOf(['agent', 'odd'], keys)
  const key = keys.control('agent')
  for (const stream of streams) await bare.xgroup('CREATE', stream.key, GROUP, '0', 'MKSTREAM')
  const taken: string[] = []
  const logger = memoryLogger()
  const reclaimer = new Reclaimer({
    ...{ leases: new ControlLeases(redis, GROUP, 'heir'), streams, slots: new Slots(10), leaseMs: LEASE_MS, logger },
    accept: (entries) => taken.push(...entries.map(({ id }) => id)),
  })
  onTestFinished(() => reclaimer.stop())
  await reclaimer.start()
  await bare.set(keys.control('odd'), 'no stream')
  const id = await bare.xadd(key, '*', 'data', '{}')
  await bare.xreadgroup('GROUP', GROUP, 'dead', 'COUNT', 1, 'STREAMS', key, '>')
  await waitFor(() => taken.length > 0)
  expect(taken).toEqual([id])
  await waitFor(() => logger.lines.some(({ message }) => message.startsWith('looking for orphaned tasks failed')))
})
