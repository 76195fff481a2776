import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { beforeEach, describe, expect, test } from 'vitest'
import type { RedisClient } from '../../src/redis/client.ts'
import type { Keys, Priority } from '../../src/redis/keys.ts'
import type { HeldLetter, NewDeadLetter } from '../../src/store/dead-letter.ts'
import { DEAD_LETTER_TTL_MS, DeadLetters } from '../../src/store/dead-letters.ts'
import type { AttemptFailure } from '../../src/store/task-records.ts'
import { openStore } from '../redis/harness.ts'

let redis: RedisClient
let keys: Keys
let bare: Redis
let letters: DeadLetters

beforeEach(() => {
  ;({ redis, keys, bare } = openStore())
  letters = new DeadLetters(redis, keys)
})

type Fields = Record<string, string | Buffer>

/** Puts an entry on a control stream. */
const send = async (fields: Fields, priority: Priority = 'normal', capability = 'agent') =>
  (await bare.xadd(keys.control(capability, priority), '*', ...Object.entries(fields).flat())) as string
/** Gives an entry up. */
const bury = (entryId: string, about: Partial<NewDeadLetter> = {}, priority: Priority = 'normal') => {
  const { capability = 'agent' } = about
  const letter = { ...{ reason: 'failed', detail: 'why', workerId: 'w', sessionId: 's', messageId: 'm' }, ...about }
  return letters.add({ ...letter, capability, entryId }, keys.control(capability, priority))
}
const sendAndBury = async (about: Partial<NewDeadLetter> = {}, fields: Fields = { data: '{}' }) =>
  bury(await send(fields, 'normal', about.capability), about)
const walk = async (filter: Parameters<DeadLetters['walk']>[0] = {}) => {
  const all: HeldLetter[] = []
  for await (const page of letters.walk(filter)) all.push(...page)
  return all
}
const indexed = (capability = 'agent') => bare.zrange(keys.deadIndex(capability), '0', '-1')
const now = async () => Number((await bare.time())[0]) * 1_000

describe('a letter', () => {
  test('keeps the entry byte for byte, and all that is known of the failure', async () => {
    const bytes = Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0xc3, 0x28, 0x7d])
    const entryId = await send({ data: bytes, history: 'theirs', reason: bytes, turn: '3' }, 'high')
    const history: AttemptFailure[] = [
      { attempt: 1, code: 'GW_TASK_FAILED', message: 'no', at: 5, workerId: 'w', entryId: '1-0' },
    ]
    expect(await bury(entryId, { epoch: 4, history }, 'high')).toBe(true)
    const [letter] = await letters.list({ capability: 'agent' }, 10)
    expect(letter).toEqual({
      ...{ id: expect.stringMatching(/^\d+-\d+$/), capability: 'agent', reason: 'failed', detail: 'why' },
      ...{ data: bytes.toString(), priority: 'high', entryId, workerId: 'w', sessionId: 's', messageId: 'm' },
      ...{ epoch: 4, history },
    })
    const [held] = await walk()
    expect(held?.data).toEqual(bytes)
    expect(held?.turn).toBe(3)
    expect(held?.others).toEqual([
      ['history', Buffer.from('theirs')],
      ['reason', bytes],
      ['turn', Buffer.from('3')],
    ])
  })

  test('takes the data of the caller where the entry is gone', async () => {
    expect(await bury('1-1', { data: '{"a":1}' })).toBe(true)
    expect(await letters.list({}, 10)).toMatchObject([{ data: '{"a":1}', epoch: 0, history: [], entryId: '1-1' }])
  })

  test('comes in spite of an entry with thousands of fields', async () => {
    const fields = Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`f${index}`, 'x']))
    await sendAndBury({}, { ...fields, data: 'kept' })
    expect(await letters.list({}, 10)).toMatchObject([{ data: 'kept', reason: 'failed' }])
  })

  test('what is no list is no history', async () => {
    await bare.xadd(keys.dead('agent'), '*', 'data', 'x', 'history', '{', 'epoch', '-7', 'priority', 'highest')
    expect(await letters.list({ capability: 'agent' }, 10)).toMatchObject([
      { history: [], epoch: 0, priority: 'normal', reason: '', messageId: '' },
    ])
  })
})

describe('there is one letter at most', () => {
  test('for an entry that is given up again, because its worker died before the ack', async () => {
    const entryId = await send({ data: 'x' })
    const given = [await bury(entryId), await bury(entryId), await bury(entryId, { epoch: 9, workerId: 'other' })]
    expect(given).toEqual([true, false, false])
    const many = await Promise.all(Array.from({ length: 20 }, async () => bury(await send({ data: 'x', turn: '5' }))))
    expect(many.filter(Boolean)).toHaveLength(1)
    expect(await letters.count('agent')).toBe(2)
    expect(await indexed()).toHaveLength(2)
  })

  test('for a task and a turn; another task and a later turn have their own', async () => {
    expect(await sendAndBury()).toBe(true)
    expect(await sendAndBury()).toBe(false)
    expect(await sendAndBury({}, { data: '{}', turn: '1' })).toBe(true)
    expect(await sendAndBury({ messageId: 'm-2' })).toBe(true)
    expect(await sendAndBury({ sessionId: 's-2' })).toBe(true)
    expect(await sendAndBury({ capability: 'other' })).toBe(true)
    expect(await letters.count('agent')).toBe(4)
  })

  test('for an entry that names no task; the same bytes in another entry, or on another lane, are another one', async () => {
    const nameless = { sessionId: '', messageId: '' }
    const entryId = await send({ data: 'junk' })
    expect([await bury(entryId, nameless), await bury(entryId, nameless)]).toEqual([true, false])
    expect(await bury(await send({ data: 'junk' }), nameless)).toBe(true)
    expect(await bury(entryId, nameless, 'low')).toBe(true)
  })

  test('for all entries that were made from one nameless letter', async () => {
    const nameless = { sessionId: '', messageId: '' }
    const again = () => send({ data: 'junk', redrive_of: '7-0' })
    expect([await bury(await again(), nameless), await bury(await again(), nameless)]).toEqual([true, false])
    // What stands there by chance is no such mark.
    const foreign = () => send({ data: 'junk', redrive_of: 'a book' })
    expect([await bury(await foreign(), nameless), await bury(await foreign(), nameless)]).toEqual([true, true])
  })
})

describe('letters have an end', () => {
  test('what is older than its time goes at the next letter, and the keys go with their last one', async () => {
    const old = 400
    for (let i = 1; i <= old; i += 1) {
      await bare.xadd(keys.dead('agent'), `${i}-0`, 'data', 'x')
      await bare.zadd(keys.deadIndex('agent'), i, `task s m-${i} 0`)
    }
    await bare.zadd(keys.deadCapabilities(), 1, 'forgotten')
    await sendAndBury({ messageId: 'm-400' })
    expect(await bare.xlen(keys.dead('agent'))).toBeLessThan(150)
    expect(await indexed()).toHaveLength(300)
    for (let i = 0; i < 3; i += 1) await sendAndBury({ messageId: 'm-400' })
    expect(await indexed()).toEqual(['task s m-400 0'])
    expect(await letters.capabilities()).toEqual(['agent'])
    for (const key of [keys.dead('agent'), keys.deadIndex('agent'), keys.deadCapabilities()]) {
      const ttl = await bare.pttl(key)
      expect(ttl).toBeGreaterThan(DEAD_LETTER_TTL_MS - 60_000)
      expect(ttl).toBeLessThanOrEqual(DEAD_LETTER_TTL_MS)
    }
  })

  test('a member whose letter is over time keeps no new letter away', async () => {
    await bare.zadd(keys.deadIndex('agent'), (await now()) - DEAD_LETTER_TTL_MS - 60_000, 'task s m 0')
    expect(await sendAndBury()).toBe(true)
    expect(await sendAndBury()).toBe(false)
  })
})

describe('reading', () => {
  test('newest first, of one capability or of all that have letters', async () => {
    for (const [capability, messageId] of [
      ['a', '1'],
      ['b', '2'],
      ['a', '3'],
      ['c', '4'],
    ] as const) {
      await sendAndBury({ capability, messageId })
      await sleep(5) // else two may come within one millisecond, and neither is the newer one
    }
    const ids = async (...args: Parameters<DeadLetters['list']>) =>
      (await letters.list(...args)).map(({ messageId }) => messageId)
    expect(await ids({}, 10)).toEqual(['4', '3', '2', '1'])
    expect(await ids({}, 2)).toEqual(['4', '3'])
    expect(await ids({ capability: 'a' }, 10)).toEqual(['3', '1'])
    expect(await ids({ capability: 'a' }, 1)).toEqual(['3'])
    expect(await ids({ capability: 'nobody' }, 10)).toEqual([])
    expect((await walk()).map(({ messageId }) => messageId)).toEqual(['1', '3', '2', '4'])
  })

  test('by what a letter says, and by its time', async () => {
    const add = (id: string, messageId: string, sessionId: string, reason: string, detail: string) =>
      bare.xadd(
        keys.dead('agent'),
        ...[id, 'data', 'x', 'message_id', messageId, 'session_id', sessionId, 'reason', reason, 'detail', detail],
      )
    await add('100-0', '1', 's', 'failed', 'Disk is FULL')
    await add('100-1', '2', 't', 'failed', 'no route')
    await add('200-0', '3', 's', 'bad-json', 'full stop')
    await add('300-0', '4', 't', 'bad-json', '')
    const capability = 'agent'
    const ids = async (filter: Parameters<DeadLetters['walk']>[0]) => {
      const forth = (await walk({ capability, ...filter })).map(({ messageId }) => messageId)
      const back = (await letters.list({ capability, ...filter }, 10)).map(({ messageId }) => messageId)
      expect(back).toEqual(forth.toReversed())
      return forth.join('')
    }
    expect(await ids({})).toBe('1234')
    expect(await ids({ sessionId: 's' })).toBe('13')
    expect(await ids({ messageId: '2' })).toBe('2')
    expect(await ids({ reason: 'bad-json' })).toBe('34')
    expect(await ids({ text: 'full' })).toBe('13')
    expect(await ids({ text: 'full', reason: 'failed' })).toBe('1')
    expect(await ids({ since: 200 })).toBe('34')
    expect(await ids({ until: 100 })).toBe('12')
    expect(await ids({ since: 101, until: 299 })).toBe('3')
    expect(await ids({ since: 301 })).toBe('')
    expect(await ids({ id: '100-1' })).toBe('2')
    expect(await ids({ id: '100' })).toBe('12')
    expect(await ids({ id: '100-1', since: 200 })).toBe('')
    expect(await ids({ id: '400-0' })).toBe('')
  })

  test('page by page, and not what comes meanwhile', async () => {
    const count = 1_300
    const pipeline = bare.pipeline()
    for (let i = 1; i <= count; i += 1) pipeline.xadd(keys.dead('agent'), `${i}-0`, 'data', 'x', 'message_id', `${i}`)
    await pipeline.exec()
    const seen: string[] = []
    for await (const page of letters.walk({ capability: 'agent' })) {
      expect(page.length).toBeLessThanOrEqual(500)
      seen.push(...page.map(({ messageId }) => messageId))
      await bare.xadd(keys.dead('agent'), '*', 'data', 'late')
    }
    expect(seen).toEqual(Array.from({ length: count }, (_, index) => `${index + 1}`))
    const found = await letters.list({ capability: 'agent', messageId: '3' }, 5)
    expect(found.map(({ id }) => id)).toEqual(['3-0'])
  })

  test('pages of large letters are small', async () => {
    const large = 'x'.repeat(1_048_576)
    for (let i = 0; i < 60; i += 1) await bare.xadd(keys.dead('agent'), '*', 'data', large)
    const sizes: number[] = []
    for await (const page of letters.walk({ capability: 'agent' })) sizes.push(page.length)
    expect(sizes).toEqual([10, ...Array.from({ length: 16 }, () => 3), 2])
  })
})

describe('discarding', () => {
  test('takes the letter and its member, once', async () => {
    await sendAndBury()
    await sendAndBury({ messageId: 'm-2' })
    const [first] = (await walk()) as [HeldLetter]
    expect(await letters.discard('agent', [first])).toEqual([true])
    expect(await letters.discard('agent', [first])).toEqual([false])
    expect(await letters.discard('agent', [])).toEqual([])
    expect(await indexed()).toEqual(['task s m-2 0'])
  })

  test('one who comes too late does not take the member of a newer letter', async () => {
    await sendAndBury()
    const [first] = (await walk()) as [HeldLetter]
    await letters.discard('agent', [first])
    expect(await sendAndBury()).toBe(true)
    expect(await letters.discard('agent', [first])).toEqual([false])
    expect(await sendAndBury()).toBe(false)
    expect(await letters.count('agent')).toBe(1)
  })

  test('one that is over its time does not take the member of a newer letter with it', async () => {
    const longAgo = (await now()) - DEAD_LETTER_TTL_MS - 60_000
    await bare.xadd(keys.dead('agent'), `${longAgo}-0`, 'data', '{}', 'session_id', 's', 'message_id', 'm')
    await bare.zadd(keys.deadIndex('agent'), longAgo, 'task s m 0')
    expect(await sendAndBury()).toBe(true)
    const [old] = (await walk()) as [HeldLetter]
    expect([old.id, await letters.discard('agent', [old])]).toEqual([`${longAgo}-0`, [true]])
    expect(await sendAndBury()).toBe(false)
  })
})
