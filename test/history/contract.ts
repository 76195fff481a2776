import { describe, expect, test } from 'vitest'
import type { HistoryMessage, HistoryStore, NewHistoryMessage } from '../../src/agent/history.ts'

/** A session that no other test uses. */
export function freshSession(): string {
  return `s-${crypto.randomUUID()}`
}

const said = (messages: readonly HistoryMessage[]) => messages.map(({ role, content }) => `${role}: ${content}`)
const user = (messageId: string, content: string, more: Partial<NewHistoryMessage> = {}): NewHistoryMessage => {
  return { role: 'user', messageId, content, ...more }
}
const assistant = (messageId: string, content: string, more: Partial<NewHistoryMessage> = {}): NewHistoryMessage => {
  return { role: 'assistant', messageId, content, ...more }
}

/** What every history must do; `open` answers a store that holds at least 400 messages of a session. */
export function historyContract(open: () => Promise<HistoryStore>): void {
  describe('keeps what is said', () => {
    test('and gives it back as it was, oldest first', async () => {
      const store = await open()
      const session = freshSession()
      const rich = [{ role: 'user', content: { text: 'look', files: [{ fileId: 1 }], resources: [] } }]
      const metadata = { lang: 'de', deep: { list: [1, null, 'x"\\'] } }
      await store.append(session, [{ role: 'system', content: 'Be brief.', createdAt: 1_000 }])
      await store.append(session, [
        { role: 'user', content: rich, messageId: 'm-1', metadata, createdAt: 2_000, fencingToken: 3 },
        { role: 'tool', content: { sky: 'clear' }, messageId: 'm-1', createdAt: 3_000, fencingToken: 3 },
        {
          role: 'assistant',
          content: 'naïve 🦊 "quoted" \\ back',
          messageId: 'm-1',
          createdAt: 4_000,
          fencingToken: 3,
        },
      ])
      const messages = await store.list(session)
      expect(messages.map(({ id: _, ...message }) => message)).toEqual([
        { ...of('system', 'Be brief.', session), messageId: '', createdAt: 1_000, fencingToken: 0 },
        { ...of('user', rich, session), messageId: 'm-1', metadata, createdAt: 2_000, fencingToken: 3 },
        { ...of('tool', { sky: 'clear' }, session), messageId: 'm-1', createdAt: 3_000, fencingToken: 3 },
        {
          ...of('assistant', 'naïve 🦊 "quoted" \\ back', session),
          ...{ messageId: 'm-1', createdAt: 4_000, fencingToken: 3 },
        },
      ])
      expect(new Set(messages.map(({ id }) => id)).size).toBe(4)
    })

    test('at the time of its arrival, if none is said', async () => {
      const store = await open()
      const session = freshSession()
      const before = Date.now() - 60_000
      await store.append(session, [user('m-1', 'hello')])
      const [message] = await store.list(session)
      expect(message?.createdAt).toBeGreaterThan(before)
      expect(message?.createdAt).toBeLessThan(Date.now() + 60_000)
    })

    test('at the whole ms, if a part of one is said', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [
        user('m-1', 'first', { createdAt: 1_000 }),
        user('m-2', 'x', { createdAt: 2_000.7 }),
      ])
      const [, message] = await store.list(session)
      expect(message?.createdAt).toBe(2_000)
      expect(said(await store.list(session, { before: message?.id }))).toEqual(['user: first'])
    })

    test('in the order of its times, then of its arrival', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [user('m-2', 'second', { createdAt: 2_000 })])
      await store.append(session, [user('m-1', 'first', { createdAt: 1_000 })])
      await store.append(session, [user('m-3', 'second, too', { createdAt: 2_000 })])
      expect(said(await store.list(session))).toEqual(['user: first', 'user: second', 'user: second, too'])
    })

    test.each([
      ['a zero byte', 'a\0b'],
      ['half a surrogate pair', 'a\ud800b'],
      ['escapes', 'a\\u0000 \\\\u0000 \\ud800'],
    ])('whatever is in it: %s', async (_, text) => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [user('m-1', text), { role: 'tool', content: { [text]: text }, metadata: { text } }])
      const messages = await store.list(session)
      expect(messages).toHaveLength(2)
      // What a store cannot hold may be replaced, what it can must stay.
      const expected = /[\0\ud800]/.test(text) ? /^a[\0\ud800\ufffd]+b$/ : text
      expect(messages[0]?.content).toEqual(typeof expected === 'string' ? expected : expect.stringMatching(expected))
    })

    test('of ids of 256 characters', async () => {
      const store = await open()
      const session = `${freshSession()}${'é'.repeat(256)}`.slice(0, 256)
      const messageId = '🦊'.repeat(256)
      await store.append(session, [user(messageId, 'hello')])
      expect(await store.list(session)).toMatchObject([{ sessionId: session, messageId, content: 'hello' }])
    })

    test.each(['two words', ' ', ' \t\n\u00a0\u2028 ', '100%', '%20', '%2520 %zz', 'a\\ "b" {c}'])(
      'of ids that are any text: %j',
      async (messageId) => {
        const store = await open()
        const session = freshSession()
        await store.append(session, [user(messageId, 'question'), assistant(messageId, 'answer')])
        await store.append(session, [assistant(messageId, 'better answer', { fencingToken: 1 })])
        expect(await store.list(session)).toMatchObject([
          { role: 'user', messageId, content: 'question' },
          { role: 'assistant', messageId, content: 'better answer' },
        ])
      },
    )

    test('when nothing is said, too', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [])
      expect(await store.list(session)).toEqual([])
    })
  })

  describe('keeps one message per task and role', () => {
    test('however often it is appended, in its place and at its time', async () => {
      const store = await open()
      const session = freshSession()
      for (const createdAt of [1_000, 5_000]) {
        await store.append(session, [user('m-1', 'question', { createdAt, fencingToken: 1 })])
      }
      await store.append(session, [assistant('m-1', 'answer', { createdAt: 2_000, fencingToken: 1 })])
      await store.append(session, [user('m-2', 'next', { createdAt: 3_000 })])
      await store.append(session, [assistant('m-1', 'better answer', { createdAt: 6_000, fencingToken: 1 })])
      const messages = await store.list(session)
      expect(said(messages)).toEqual(['user: question', 'assistant: better answer', 'user: next'])
      expect(messages.map(({ createdAt }) => createdAt)).toEqual([1_000, 2_000, 3_000])
    })

    test('also within one append and in appends at the same time', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [user('m-1', 'a'), user('m-1', 'b')])
      await Promise.all(
        Array.from({ length: 20 }, (_, index) => store.append(session, [assistant('m-1', `answer ${index}`)])),
      )
      expect((await store.list(session)).map(({ role, messageId }) => [role, messageId])).toEqual([
        ['user', 'm-1'],
        ['assistant', 'm-1'],
      ])
    })

    test('apart from those without a task, each of which counts', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [{ role: 'system', content: 'one' }])
      await store.append(session, [{ role: 'system', content: 'one' }])
      expect(await store.list(session)).toHaveLength(2)
    })
  })

  describe('is fenced', () => {
    test('a later attempt replaces, an earlier one changes nothing', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [assistant('m-1', 'of the second', { fencingToken: 2 })])
      await store.append(session, [assistant('m-1', 'of the first', { fencingToken: 1 })])
      expect(said(await store.list(session))).toEqual(['assistant: of the second'])
      await store.append(session, [assistant('m-1', 'of the third', { fencingToken: 3 })])
      expect(await store.list(session)).toMatchObject([{ content: 'of the third', fencingToken: 3 }])
    })

    test('from the moment in which the later attempt has said anything', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [user('m-1', 'question', { fencingToken: 1 })])
      await store.append(session, [user('m-1', 'question', { fencingToken: 2 })])
      await store.append(session, [assistant('m-1', 'too late', { fencingToken: 1 })])
      expect(said(await store.list(session))).toEqual(['user: question'])
      await store.append(session, [assistant('m-1', 'answer', { fencingToken: 2 })])
      expect(said(await store.list(session))).toEqual(['user: question', 'assistant: answer'])
    })

    test('also where both come together', async () => {
      const store = await open()
      const session = freshSession()
      await Promise.all([
        store.append(session, [user('m-1', 'question', { fencingToken: 2 })]),
        store.append(session, [assistant('m-1', 'too late', { fencingToken: 1 })]),
        store.append(session, [assistant('m-2', 'of another', { fencingToken: 1 })]),
      ])
      expect(said(await store.list(session)).sort()).toEqual(['assistant: of another', 'user: question'])
    })

    test('a blank message of no task takes nothing back, and is none itself', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [{ role: 'system', content: 'Be brief.' }])
      await store.append(session, [{ role: 'system', content: '' }, user('m-1', 'question')])
      expect(said(await store.list(session))).toEqual(['system: Be brief.', 'user: question'])
    })

    test('also when the later attempt has taken back all that there was, or had nothing to say', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [assistant('m-1', 'half an ans', { fencingToken: 1 })])
      await store.append(session, [assistant('m-1', '', { fencingToken: 2 })])
      await store.append(session, [assistant('m-2', '', { fencingToken: 2 })])
      for (const id of ['m-1', 'm-2']) await store.append(session, [assistant(id, 'too late', { fencingToken: 1 })])
      expect(said(await store.list(session))).toEqual([])
      for (const id of ['m-1', 'm-2']) await store.append(session, [assistant(id, 'answer', { fencingToken: 2 })])
      expect(said(await store.list(session))).toEqual(['assistant: answer', 'assistant: answer'])
    })

    test('a blank message takes back what was said', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [user('m-1', 'question'), assistant('m-1', 'half an ans', { fencingToken: 1 })])
      await store.append(session, [assistant('m-1', '', { fencingToken: 2 })])
      await store.append(session, [assistant('m-2', '', { fencingToken: 1 })])
      expect(said(await store.list(session))).toEqual(['user: question'])
    })
  })

  describe('is read by pages', () => {
    test('from the newest to the oldest, without holes and repetitions', async () => {
      const store = await open()
      const session = freshSession()
      const all = Array.from({ length: 45 }, (_, index) =>
        user(`m-${index}`, `${index}`, { createdAt: 1_000 + (index >> 2) }),
      )
      await store.append(session, all)
      const seen: string[] = []
      let before: string | undefined
      for (;;) {
        const page = await store.list(session, { limit: 10, ...(before === undefined ? {} : { before }) })
        if (page.length === 0) break
        seen.unshift(...page.map(({ content }) => String(content)))
        before = page[0]?.id
        // What is said meanwhile changes nothing for a reader who goes back.
        await store.append(session, [user(`late-${before}`, 'late')])
      }
      expect(seen).toEqual(all.map(({ content }) => content))
    })

    test('also before a message that was taken back meanwhile', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(session, [
        user('m-1', 'first', { createdAt: 1_000 }),
        user('m-2', 'second', { createdAt: 2_000, fencingToken: 1 }),
        assistant('m-2', 'half an ans', { createdAt: 2_000, fencingToken: 1 }),
        user('m-3', 'third', { createdAt: 2_000 }),
        user('m-4', 'fourth', { createdAt: 3_000 }),
      ])
      const page = await store.list(session, { limit: 3 })
      expect(said(page)).toEqual(['assistant: half an ans', 'user: third', 'user: fourth'])
      await store.append(session, [assistant('m-2', '', { fencingToken: 2 })])
      const before = page[0]?.id
      expect(said(await store.list(session, { before }))).toEqual(['user: first', 'user: second'])
      expect(said(await store.list(session, { before, limit: 1 }))).toEqual(['user: second'])
    })

    test('50 if nothing is said', async () => {
      const store = await open()
      const session = freshSession()
      await store.append(
        session,
        Array.from({ length: 60 }, (_, index) => user(`m-${index}`, `${index}`, { createdAt: 1_000 + index })),
      )
      const page = await store.list(session)
      expect([page.length, page[0]?.content, page.at(-1)?.content]).toEqual([50, '10', '59'])
    })

    test.each([
      ['limit', { limit: 0 }],
      ['limit', { limit: 1_001 }],
      ['limit', { limit: 1.5 }],
      ['before', { before: 'yesterday' }],
      ['before', { before: '' }],
    ])('and refuses what is none: %s %j', async (field, page) => {
      const store = await open()
      await expect(store.list('s', page)).rejects.toMatchObject({
        code: 'GW_INVALID_ARGUMENT',
        details: { field, value: Object.values(page)[0] },
      })
    })

    test('nothing is there of a session that nobody knows', async () => {
      expect(await (await open()).list(freshSession())).toEqual([])
    })
  })

  describe('refuses by name what it cannot keep', () => {
    test.each([
      ['messages.0.role', { role: 'robot', content: 'x' }],
      ['messages.0.content', { role: 'user', content: 7 }],
      ['messages.0.content', { role: 'user', content: null }],
      ['messages.0.content', { role: 'user', content: { toJSON: () => undefined } }],
      ['messages.0.content', { role: 'user', content: { toJSON: () => BigInt(1) } }],
      ['messages.0.fencingToken', { role: 'user', content: 'x', fencingToken: -1 }],
      ['messages.0.createdAt', { role: 'user', content: 'x', createdAt: Number.NaN }],
      ['messages.0.messageId', { role: 'user', content: 'x', messageId: 'x'.repeat(257) }],
      ['messages.0.messageId', { role: 'user', content: 'x', messageId: '🦊'.repeat(257) }],
      ['messages.0.content', { role: 'user', content: { n: 1n } }],
      ['messages.0.metadata', { role: 'user', content: 'x', metadata: { n: 1n } }],
      ['messages.0.metadata', { role: 'user', content: 'x', metadata: 'y' }],
      ['messages.0.metadata', { role: 'user', content: 'x', metadata: null }],
      ['messages.0', null],
      ['messages.0', 'x'],
    ])('%s', async (field, message) => {
      const store = await open()
      const append = async () => store.append(freshSession(), [message as never])
      await expect(append()).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT', details: { field } })
    })

    test('and keeps nothing of what came with it', async () => {
      const store = await open()
      const [session, circle] = [freshSession(), { me: {} }]
      circle.me = circle
      await store.append(session, [user('m-0', 'before')])
      const append = async () => store.append(session, [user('m-1', 'with it'), user('m-2', circle as never)])
      await expect(append()).rejects.toMatchObject({
        ...{ code: 'GW_INVALID_ARGUMENT', details: { field: 'messages.1.content' } },
        message: expect.stringContaining('circular structure'),
      })
      expect(said(await store.list(session))).toEqual(['user: before'])
      await store.append(session, [user('m-3', 'after')])
      expect(said(await store.list(session))).toEqual(['user: before', 'user: after'])
    })

    test('no list, and a page that is none', async () => {
      const store = await open()
      const append = async (messages: unknown) => store.append(freshSession(), messages as never)
      for (const wrong of [null, undefined, {}, 'x']) {
        await expect(append(wrong)).rejects.toMatchObject({ details: { field: 'messages', value: wrong } })
      }
      await expect(store.list('s', null as never)).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
      await expect(store.list('s', { limt: 5 } as never)).rejects.toMatchObject({ details: { field: 'limt' } })
    })

    test('a session that is none', async () => {
      const store = await open()
      const append = async () => store.append('a b', [user('m', 'x')])
      await expect(append()).rejects.toMatchObject({ details: { field: 'sessionId', value: 'a b' } })
      await expect(store.list('a b')).rejects.toMatchObject({ details: { field: 'sessionId' } })
      await expect(store.clear('')).rejects.toMatchObject({ details: { field: 'sessionId' } })
    })
  })

  test('forgets a session, that one alone, and begins anew', async () => {
    const store = await open()
    const [session, other] = [freshSession(), freshSession()]
    await store.append(session, [user('m-1', 'question', { fencingToken: 7 })])
    await store.append(other, [user('m-1', 'other', { fencingToken: 7 })])
    await store.clear(session)
    await store.clear(freshSession())
    expect(await store.list(session)).toEqual([])
    expect(said(await store.list(other))).toEqual(['user: other'])
    await store.append(session, [user('m-1', 'again', { fencingToken: 1 })])
    expect(said(await store.list(session))).toEqual(['user: again'])
  })

  test('bears being closed twice', async () => {
    const store = await open()
    await store.close()
    await store.close()
  })
}

function of(role: HistoryMessage['role'], content: HistoryMessage['content'], sessionId: string) {
  return { role, content, sessionId, metadata: {} }
}
