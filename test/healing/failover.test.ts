import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { startWatched } from '../redis/sentinel.ts'
import { House } from '../worker/harness.ts'
import { Ward } from './ward.ts'

// ioredis keeps a timer for each connection that is closed while its server is away.
afterAll(() => pause(1_000))

test.each(['the master is killed', 'the master hangs'])(
  'Sentinel: %s, another takes over, and all goes on',
  { timeout: 60_000 },
  async (how) => {
    const { master, replica, copy, asked, option } = await startWatched()
    const house = Object.assign(new House(replica.url, 'queue'), { server: master })
    const ward = await Ward.open({ house, redis: option })
    await ward.hold()
    const result = ward.result()
    ward.startLoad()
    await waitFor(() => ward.accepted.length > 10)
    ward.stopLoad()
    // What a replica has not yet heard is lost in a failover; that is not what is tried here.
    await waitFor(
      async () => (await house.waiting()) === 1 && /master_link_status:up/.test(await copy.info('replication')),
    )
    master.kill(how === 'the master hangs' ? 'SIGSTOP' : 'SIGKILL')
    await waitFor(
      async () =>
        ((await asked.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main')) as string[])[1] === `${replica.port}`,
      { timeoutMs: 30_000 },
    )
    expect(await ward.backAtWork()).toBeLessThan(5_000)
    ward.gate.open()
    expect(await result).toMatchObject({ status: 'COMPLETED', data: 'held' })
    await ward.settled()
    expect([...ward.starts.values()].filter((count) => count > 1)).toEqual([])
    for (const [line, count] of Object.entries(ward.logged())) expect([line, count]).toEqual([line, 1])
  },
)
