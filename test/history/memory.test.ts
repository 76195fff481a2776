import { describe, expect, test } from 'vitest'
import { MemoryHistory } from '../../src/history/memory.ts'
import { historyContract } from './contract.ts'

historyContract(async () => new MemoryHistory({ maxMessages: 400 }))

describe('is bounded', () => {
  const say = (history: MemoryHistory, session: string, messageId: string, content = messageId) =>
    history.append(session, [{ role: 'user', messageId, content }])
  const read = async (history: MemoryHistory, session: string) =>
    (await history.list(session)).map(({ content }) => content)

  test('in the messages of a session: the oldest go first', async () => {
    const history = new MemoryHistory({ maxMessages: 3 })
    for (const id of ['a', 'b', 'c', 'd', 'e']) say(history, 's', id)
    expect(await read(history, 's')).toEqual(['c', 'd', 'e'])
  })

  test('in what is kept, not in how often it was said', async () => {
    const history = new MemoryHistory({ maxMessages: 3 })
    for (const id of ['a', 'b', 'c']) say(history, 's', id)
    for (let fencingToken = 1; fencingToken <= 50; fencingToken += 1) {
      history.append('s', [{ role: 'user', messageId: 'd', content: 'd', fencingToken }])
    }
    expect(await read(history, 's')).toEqual(['b', 'c', 'd'])
    for (let time = 1; time <= 50; time += 1) history.append('s', [{ role: 'system', content: `${time}` }])
    expect(await read(history, 's')).toEqual(['48', '49', '50'])
  })

  test('in sessions: the quietest goes first', async () => {
    const history = new MemoryHistory({ maxSessions: 2 })
    say(history, 's-1', 'a')
    say(history, 's-2', 'b')
    say(history, 's-1', 'c')
    say(history, 's-3', 'd')
    expect(await read(history, 's-2')).toEqual([])
    expect(await read(history, 's-1')).toEqual(['a', 'c'])
  })

  test('in characters, also of a single session', async () => {
    const history = new MemoryHistory({ maxLength: 2_000 })
    say(history, 's-1', 'a', 'x'.repeat(900))
    say(history, 's-2', 'b', 'x'.repeat(900))
    expect(await read(history, 's-1')).toHaveLength(1)
    say(history, 's-2', 'c', 'x'.repeat(900))
    expect(await read(history, 's-1')).toEqual([])
    say(history, 's-2', 'd', 'x'.repeat(1_900))
    expect((await read(history, 's-2')).map((text) => String(text).length)).toEqual([1_900])
  })

  test('a message that is larger than all may be is kept alone', async () => {
    const history = new MemoryHistory({ maxLength: 2_000 })
    say(history, 's-1', 'a')
    say(history, 's-2', 'b', 'x'.repeat(9_000))
    expect([await read(history, 's-1'), (await read(history, 's-2'))[0]]).toEqual([[], 'x'.repeat(9_000)])
    say(history, 's-1', 'c')
    expect([await read(history, 's-1'), await read(history, 's-2')]).toEqual([['c'], []])
  })

  test('a session of which nothing is kept takes no place', async () => {
    const history = new MemoryHistory({ maxSessions: 2, maxLength: 2_000 })
    history.append('s-1', [])
    say(history, 's-2', 'a', 'x'.repeat(900))
    // What was kept of it is overwritten by what is then not kept either.
    const long = { role: 'user', content: 'x'.repeat(1_500) } as const
    expect(() => history.append('s-2', [long, { role: 'user', content: { of: 1n } }])).toThrow('messages.1.content')
    for (const session of ['s-3', 's-4']) say(history, session, session)
    expect([await read(history, 's-3'), await read(history, 's-4')]).toEqual([['s-3'], ['s-4']])
  })

  test('a session that is dropped or forgotten begins anew', async () => {
    const history = new MemoryHistory({ maxSessions: 2 })
    for (let turn = 0; turn < 50; turn += 1) {
      for (const session of ['s-1', 's-2', 's-3']) say(history, session, `${session}-${turn}`)
      expect(await read(history, 's-1')).toEqual([])
      expect(await read(history, 's-3')).toEqual([`s-3-${turn}`])
      await history.clear('s-3')
      expect(await read(history, 's-3')).toEqual([])
    }
  })

  test.each([{ maxMessages: 0 }, { maxSessions: 1.5 }, { maxLength: -1 }])(
    'an option at fault is named: %j',
    (options) => {
      expect(() => new MemoryHistory(options)).toThrow(Object.keys(options)[0])
    },
  )
})

test('costs no turn of the event loop', () => {
  expect(new MemoryHistory().append('s', [{ role: 'user', content: 'x' }])).toBeUndefined()
})
