import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { fingerprint } from '../../../src/context/durable/args.ts'
import { type Arrival, HandOver } from '../../../src/context/durable/hand-over.ts'
import { Journal } from '../../../src/context/durable/journal.ts'
import { NonDeterminismError } from '../../../src/errors.ts'
import { deferred } from '../../../src/util/deferred.ts'

const request = (args: unknown, ordinal = 0, name = 'x') => ({
  ...{ scope: '', kind: 'call', name, ordinal },
  ...fingerprint(args),
})

/** A journal that holds calls of `x` with these arguments, and results by ordinal. */
function recorded(args: unknown[], results: Record<string, string> = {}, attempt = 1): Journal {
  const fields = new Map<string, string>()
  args.forEach((arg, i) => {
    const { hash, shown } = fingerprint(arg)
    fields.set(`/call:x#${i}`, `1000 ${JSON.stringify({ k: 'call', m: 'x', h: hash, a: shown })}`)
  })
  for (const [key, text] of Object.entries(results)) fields.set(`=${key}`, text)
  fields.set('n', String(Object.keys(results).length))
  return new Journal(attempt, { now: 5_000, fields })
}

describe('a claim', () => {
  test('of an empty journal is a new operation, each under a key of its own', () => {
    const journal = new Journal(1)
    const first = journal.claim(request('a'))
    expect(first).toMatchObject({ key: '/call:x#0', entry: undefined, result: undefined })
    expect(JSON.parse(first.json)).toMatchObject({ k: 'call', m: 'x', a: '"a"' })
    expect(journal.claim(request('a', 1)).key).toBe('/call:x#1')
    expect(journal.lastOrder).toBe(0)
  })

  test.each([
    ['load', '/step:load#0'],
    ['issue#12/comments', '/step:issue#12/comments#0'],
    ['a#0/b:c', '/step:a#0/b:c#0'],
    ['a/step:b', '/step:a/step:b#0'],
    ['a#0/step:b', '/step:a#0\\/step:b#0'],
    ['a#0\\/step:b', '/step:a#0\\\\/step:b#0'],
    ['a#0~2/group#1[0]/call:b', '/step:a#0~2\\/group#1[0]\\/call:b#0'],
  ])('of a step by the name %s has a key that no other operation has: %s', (name, key) => {
    expect(new Journal(1).claim({ ...request(null, 0, name), kind: 'step' }).key).toBe(key)
  })

  test('with the recorded arguments gets what is recorded', () => {
    const journal = recorded(['a', 'b'], { '/call:x#1': '3 1 {"s":"C"}' })
    expect(journal.claim(request('a'))).toMatchObject({
      key: '/call:x#0',
      entry: { openedAt: 1000 },
      result: undefined,
    })
    expect(journal.claim(request('b', 1)).result).toMatchObject({ order: 3, attempt: 1, value: { s: 'C' } })
    expect(journal.claim(request('c', 2))).toMatchObject({ key: '/call:x#2', entry: undefined })
    expect(journal.lastOrder).toBe(3)
  })

  test('finds an operation that has swapped places', () => {
    const journal = recorded(['a', 'b', 'a'])
    expect([request('b'), request('a', 1), request('a', 2)].map((r) => journal.claim(r).key)).toEqual([
      ...['/call:x#1', '/call:x#0', '/call:x#2'],
    ])
  })

  test('finds it also where nothing was recorded in its own place, and in a group that has swapped places', () => {
    const [a, b] = ['a', 'b'].map((arg) => `1 {"k":"call","m":"x","h":"${fingerprint(arg).hash}","a":"${arg}"}`) as [
      string,
      string,
    ]
    const gap = new Journal(1, { now: 0, fields: new Map([['/call:x#1', b]]) })
    expect([request('b'), request('a', 1)].map((r) => gap.claim(r).key)).toEqual(['/call:x#1', '/call:x#2'])
    const fields = new Map([
      ['/group#0[0]/call:x#0', a],
      ['/group#0[1]/call:x#0', b],
      ['/group#1[0]/call:x#0', b],
    ])
    const groups = new Journal(1, { now: 0, fields })
    const member = (group: number, at: number, arg: string) => ({ ...request(arg), scope: `/group#${group}[${at}]` })
    expect([member(0, 0, 'b'), member(1, 0, 'a'), member(1, 1, 'b')].map((one) => groups.claim(one).key)).toEqual([
      '/group#1[0]/call:x#0',
      '/group#0[0]/call:x#0',
      '/group#0[1]/call:x#0',
    ])
    // Steps of one name have nothing but their numbers.
    const step = `1 {"k":"step","m":"x","h":"h","a":""}`
    const steps = new Journal(1, { now: 0, fields: new Map([['/step:x#1', step]]) })
    expect(steps.claim({ scope: '', kind: 'step', name: 'x', ordinal: 0, hash: 'h', shown: '' }).key).toBe('/step:x#0')
  })

  test('of something else than recorded is in doubt until that is asked for, and shows both', () => {
    const journal = recorded(['a'])
    const { key, entry, doubt } = journal.claim(request({ long: 'z'.repeat(1_000) }))
    expect([key, entry, doubt?.place]).toEqual(['/call:x#1', undefined, '/call:x#0'])
    expect(doubt?.error).toBeInstanceOf(NonDeterminismError)
    expect(doubt?.error.message).toMatch(/^\/call:x#0 was called with \{"long":"z+…, but before with "a"/)
    // Of another name it is another operation.
    expect(journal.claim(request('z', 0, 'y'))).toMatchObject({ key: '/call:y#0', doubt: undefined })
    expect(journal.isAsked('/call:x#0')).toBe(false)
    const asked = journal.claim(request('a', 1))
    expect([asked.key, asked.doubt]).toEqual(['/call:x#0', undefined])
    expect(journal.isAsked('/call:x#0')).toBe(true)
  })

  test('of something else than followed on what came to nothing is a new operation', () => {
    const entry = (kind: string, arg: string, at: number) =>
      `${at} {"k":"${kind}","m":"x","h":"${fingerprint(arg).hash}","a":"${arg}"}`
    const doubt = (fields: Record<string, string>, attempt = 2) =>
      new Journal(attempt, { now: 9, fields: new Map(Object.entries(fields)) }).claim(request('z')).doubt?.place
    const call = { '/call:x#0': entry('call', 'a', 5) }
    expect(doubt(call)).toBe('/call:x#0')
    // A step that threw, or whose run was cut off.
    expect(doubt({ ...call, '/step:x#0': entry('step', '', 4) })).toBeUndefined()
    expect(doubt({ ...call, '/step:x#0': entry('step', '', 4), '=/step:x#0': '1 1 {"v":1}' })).toBe('/call:x#0')
    expect(doubt({ ...call, '/step:x#0': entry('step', '', 6) })).toBe('/call:x#0')
    // A step that this run has begun itself tells nothing.
    const begun = new Journal(2, { now: 9, fields: new Map(Object.entries(call)) })
    begun.claim({ ...request(null), kind: 'step' })
    expect(begun.claim(request('z')).doubt?.place).toBe('/call:x#0')
    // A call that failed is called anew by the next attempt only.
    const failed = { ...call, '/call:y#0': entry('call', 'y', 4), '=/call:y#0': '1 1 {"s":"F"}' }
    expect([doubt(failed, 1), doubt(failed, 2)]).toEqual(['/call:x#0', undefined])
  })

  test('of a new operation where another has taken its key gets the next free one', () => {
    const journal = recorded(['a', 'b'])
    expect(journal.claim(request('b')).key).toBe('/call:x#1')
    expect(journal.claim(request('new', 1)).key).toBe('/call:x#2')
    expect(journal.claim(request('a', 2)).key).toBe('/call:x#0')
    // Also where its like has taken it, and where the next is that of one that has not been asked for.
    const swapped = recorded(['a', 'b', 'c'], { '/call:x#2': '1 1 {"s":"C"}' })
    expect(swapped.claim(request('b')).key).toBe('/call:x#1')
    expect(swapped.claim(request('b', 1))).toMatchObject({ key: '/call:x#3', entry: undefined, result: undefined })
  })

  test('of what failed in an earlier attempt is a new operation; what completed, or failed in this one, is not', () => {
    const failed = { '/call:x#0': '1 1 {"s":"F"}', '/call:x#1': '2 1 {"s":"C"}', '/call:x#2': '3 2 {"s":"TIMEOUT"}' }
    const second = recorded(['a', 'b', 'c'], failed, 2)
    expect(second.claim(request('a'))).toMatchObject({ key: '/call:x#0~2', result: undefined })
    expect(second.claim(request('b', 1))).toMatchObject({ key: '/call:x#1', result: { order: 2 } })
    expect(second.claim(request('c', 2))).toMatchObject({ key: '/call:x#2', result: { order: 3 } })
    // Nothing of the failed one is left to come, nor taken for another like it.
    expect(second.hasMore('')).toBe(false)
    expect(second.claim(request('a', 3))).toMatchObject({ key: '/call:x#3', result: undefined })
    expect(recorded(['a'], { '/call:x#0': '1 1 {"s":"F"}' }, 1).claim(request('a')).key).toBe('/call:x#0')
  })

  test('goes on with what an earlier run of the same attempt began anew', () => {
    const { hash, shown } = fingerprint('a')
    const entry = JSON.stringify({ k: 'call', m: 'x', h: hash, a: shown })
    const fields = new Map([
      ['/call:x#0', `1 ${entry}`],
      ['=/call:x#0', '1 1 {"s":"F"}'],
      ['/call:x#0~2', `2 ${entry}`],
    ])
    const again = () => new Journal(2, { now: 0, fields })
    expect(again().claim(request('a'))).toMatchObject({ key: '/call:x#0~2', entry: { openedAt: 2 } })
    fields.set('=/call:x#0~2', '2 2 {"s":"F"}')
    expect(again().claim(request('a'))).toMatchObject({ key: '/call:x#0~2', result: { order: 2 } })
    expect(new Journal(3, { now: 0, fields }).claim(request('a')).key).toBe('/call:x#0~3')
    // Those before it are passed: nothing of them is left to come.
    fields.set('/call:x#0~3', `3 ${entry}`)
    const third = new Journal(3, { now: 0, fields })
    expect(third.claim(request('a'))).toMatchObject({ key: '/call:x#0~3', entry: { openedAt: 3 } })
    expect(third.hasMore('')).toBe(false)
  })
})

test('a result that comes before this run asks for it is recorded; one that comes later is not', () => {
  const { hash } = fingerprint(1)
  const journal = new Journal(1, {
    now: 0,
    fields: new Map(['/call:x#0', '/call:x#1'].map((key) => [key, `1 {"k":"call","m":"x","h":"${hash}","a":"1"}`])),
  })
  journal.claim(request(1, 0))
  expect(journal.unasked).toEqual(['/call:x#1'])
  const result = { order: 1, attempt: 1, value: { s: 'C' }, isElsewhere: false }
  for (const key of ['/call:x#0', '/call:x#1', '/call:x#2']) journal.learn(key, result)
  expect(journal.unasked).toEqual([])
  expect(journal.claim(request(1, 1)).result).toEqual(result)
  expect(journal.claim(request(1, 2)).result).toBeUndefined()
  expect(journal.result('/call:x#0')).toBeUndefined()
})

test('arguments that differ in the order of their keys only are the same', () => {
  expect(fingerprint({ a: 1, b: { c: [1, { e: 1, d: 2 }] } })).toEqual(
    fingerprint({ b: { c: [1, { d: 2, e: 1 }] }, a: 1 }),
  )
  expect(fingerprint([1, 2]).hash).not.toBe(fingerprint([2, 1]).hash)
  expect(fingerprint(undefined)).toEqual(fingerprint(null))
})

test('recorded results come in their order, one per turn, whoever asked first', async () => {
  const handOver = new HandOver()
  const seen: string[] = []
  await Promise.all(
    [3, 1, 4, 2].map(async (number) => {
      await handOver.replay(number)
      seen.push(`${number}`)
      for (let i = 0; i < 20; i += 1) await new Promise<void>(i % 2 === 0 ? queueMicrotask : process.nextTick)
      seen.push(`with ${number}`)
      if (number !== 1) return
      // Asked for late, but it has come before the others.
      await handOver.replay(1.5)
      seen.push('1.5')
    }),
  )
  expect(seen).toEqual(['1', 'with 1', '1.5', '2', 'with 2', '3', 'with 3', '4', 'with 4'])
  expect(handOver.isIdle).toBe(true)
})

describe('results that come now', () => {
  test('go at once if they are alone', () => {
    const handOver = new HandOver()
    const came = handOver.expect()
    expect(handOver.turn(handOver.arrive(1))).toBeUndefined()
    came()
    expect(handOver.turn(handOver.arrive(2))).toBeUndefined()
  })

  test('go one per turn, behind those that came before, also if these are forgotten', async () => {
    const handOver = new HandOver()
    const seen: string[] = []
    for (let i = 0; i < 4; i += 1) handOver.expect()
    const [second, first, third, fourth] = [2, 1, 3, 4].map((order) => handOver.arrive(order)) as [
      Arrival,
      Arrival,
      Arrival,
      Arrival,
    ]
    const take = async (arrival: Arrival) => {
      await handOver.turn(arrival)
      for (let i = 0; i < 20; i += 1) await null
      seen.push(`${arrival.order}`)
    }
    const all = [take(third), take(fourth)]
    await pause(10)
    expect(seen).toEqual([])
    handOver.forget(second)
    await pause(10)
    expect(seen).toEqual([])
    all.push(take(first))
    await Promise.all(all)
    expect(seen).toEqual(['1', '3', '4'])
    expect(handOver.isIdle).toBe(true)
  })

  test('wait for recorded ones that were asked for', async () => {
    const handOver = new HandOver()
    const read = deferred()
    const seen: string[] = []
    const all = [handOver.replay(1, read.promise).then(() => seen.push('recorded'))]
    all.push((handOver.turn(handOver.arrive(2)) as Promise<void>).then(() => seen.push('live')))
    await pause(10)
    expect(seen).toEqual([])
    read.reject(new Error('cannot be read'))
    await expect(all[0]).rejects.toThrow('cannot be read')
    await all[1]
    expect(seen).toEqual(['live'])
  })
})

test('the number of operations has an end, which is said', () => {
  const journal = new Journal(1)
  for (let i = 0; i < 50_000; i += 1) journal.claim(request('x', i))
  expect(() => journal.claim(request('x', 50_000))).toThrow(
    expect.objectContaining({ code: 'GW_JOURNAL_FULL', message: expect.stringContaining('50000') }),
  )
})

test('of a turn whose result must be read first, nothing overtakes', async () => {
  const handOver = new HandOver()
  const read = deferred()
  const seen: number[] = []
  const turns = [handOver.replay(2), handOver.replay(1, read.promise)].map((turn, i) =>
    turn.then(() => seen.push(2 - i)),
  )
  await pause(20)
  expect(seen).toEqual([])
  read.resolve()
  await Promise.all(turns)
  expect(seen).toEqual([1, 2])
})

describe('what an earlier run has recorded beyond this place', () => {
  const entry = (kind: string) => `1 {"k":"${kind}","m":"x","h":"h","a":""}`
  const journal = (fields: Record<string, string>) =>
    new Journal(1, { now: 0, fields: new Map(Object.entries(fields)) })

  test('is what this run has not asked for, in groups too, but not in the bodies of steps, nor patches', () => {
    expect(journal({}).hasMore('')).toBe(false)
    expect(journal({ '/call:x#0': entry('call') }).hasMore('')).toBe(true)
    expect(journal({ '/group#0[1]/call:x#0': entry('call') }).hasMore('')).toBe(true)
    expect(journal({ '/patch:x#0': entry('patch') }).hasMore('')).toBe(false)
    const nested = { '/step:a/b#0': entry('step'), '/step:a/b#0/call:x#0': entry('call') }
    expect(journal(nested).hasMore('/step:a/b#0')).toBe(true)
    expect(journal({ ...nested, '/call:y#0': entry('call') }).hasMore('/step:a/b#0')).toBe(true)
    expect(journal(nested).stepsAround('/step:a/b#0/call:x#0')).toEqual(['/step:a/b#0'])
    expect(journal(nested).stepsAround('/step:a/b#0')).toEqual([])
    // A step of the handler's own, whose name begins as the key of another goes on.
    const alike = journal({ '/step:a#0': entry('step'), '/step:a#0/b#0': entry('step') })
    expect(alike.hasMore('/step:a#0')).toBe(false)
    expect(alike.stepsAround('/step:a#0/b#0')).toEqual([])
    const asked = journal(nested)
    asked.claim({ scope: '', kind: 'step', name: 'a/b', ordinal: 0, hash: 'h', shown: '' })
    expect(asked.hasMore('')).toBe(false)
  })
})
