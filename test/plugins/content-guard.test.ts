import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GuardedText } from '../../plugins/content-guard/guarded-text.ts'
import { type ContentGuardOptions, contentGuard } from '../../plugins/content-guard/index.ts'
import { resolveOptions } from '../../plugins/content-guard/options.ts'
import { type CompiledRule, compile, type Find, RULES, type Rule, search } from '../../plugins/content-guard/rules.ts'
import type { AgentContext } from '../../src/agent/context.ts'
import type { SessionEvent } from '../../src/protocol/event.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { foldText, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

/** What is shown of a text that comes in these pieces. */
function shown(pieces: readonly string[], options: ContentGuardOptions = {}): string {
  const text = new GuardedText(resolveOptions(options), () => undefined)
  return pieces.map((piece) => text.take(piece)).join('') + text.flush()
}

/** As `search`, by trying all parts of each find. */
function searchAll(text: string, { pattern, whole, accept = () => true }: CompiledRule): Find[] {
  const finds: Find[] = []
  for (let from = 0; from <= text.length; ) {
    pattern.lastIndex = from
    const match = pattern.exec(text)
    if (match === null) break
    const { 0: found, index } = match
    const groups = [...found.matchAll(/[^ -]+/g)].map((group) => [group.index, group.index + group[0].length] as const)
    const parts = groups.flatMap(([start], first) => groups.slice(first).map(([, end], more) => ({ start, end, more })))
    const tried = parts
      .filter(({ more }) => more < groups.length - 1 && more >= groups.length - 6)
      .sort((a, b) => b.more - a.more || a.start - b.start)
    const meant = [{ start: 0, end: found.length }, ...tried].find(({ start, end }, place) => {
      const one = found.slice(start, end)
      return (place === 0 || whole.test(one)) && accept(one)
    })
    const { start, end } = meant ?? { start: 0, end: found.length }
    finds.push({ start: index + start, end: index + end, isMeant: meant !== undefined })
    from = index + (meant?.end ?? Math.max(1, found.search(/[ -]|$/)))
  }
  return finds
}

describe('what must not be shown', () => {
  test.each([
    ['write to ann.lee+x@mail.example.org, please', 'write to [email], please'],
    ['pay with 4111 1111 1111 1111 now', 'pay with [credit card] now'],
    ['4111-1111-1111-1111', '[credit card]'],
    ['order 4111 1111 1111 1112', 'order 4111 1111 1111 1112'], // the check digit is wrong
    ['card 4111 1111 1111 1111 12/27', 'card [credit card] 12/27'],
    ['4111 1111 1111 1111 123', '[credit card] 123'],
    ['12 4111 1111 1111 1111', '12 [credit card]'],
    ['2024 4111-1111-1111-1111 2025', '2024 [credit card] 2025'],
    ['AT61 1904 3002 3457 3201 EUR', '[IBAN] EUR'],
    ['BE68 5390 0754 7034 EURO 1200 PAID NOW', '[IBAN] EURO 1200 PAID NOW'],
    ['account DE89 3704 0044 0532 0130 00.', 'account [IBAN].'],
    ['DE89370400440532013001', 'DE89370400440532013001'],
    ['key sk-abcdefghijklmnop1234 leaked', 'key [secret key] leaked'],
    ['AKIAABCDEFGHIJKLMNOP', '[secret key]'],
    ['Bearer eyJhbGciOiJI.eyJzdWIiOiIx.abc-_123', 'Bearer [token]'],
    ['nothing of that kind, a@b, 1234', 'nothing of that kind, a@b, 1234'],
  ])('%j is shown as %j, whole or in single characters', (text, expected) => {
    expect(shown([text])).toBe(expected)
    expect(shown([...text])).toBe(expected)
  })

  test.each([
    [`Bearer eyJ${'a'.repeat(40)}.eyJ${'b'.repeat(200)}.${'c'.repeat(43)} x`, 'Bearer [token] x'],
    [`12 eyJ${'a'.repeat(300)}.eyJ${'b'.repeat(5_000)}.${'c'.repeat(300)}. Yes`, '12 [token]. Yes'],
    [`an eyJ${'a'.repeat(300)} is none`, `an eyJ${'a'.repeat(300)} is none`],
    [`an eyJ${'a'.repeat(300)}.eyes.is none`, `an eyJ${'a'.repeat(300)}.eyes.is none`],
  ])('a long token, however long it takes to come: %#', (text, expected) => {
    expect(shown([text])).toBe(expected)
    expect(shown([...text])).toBe(expected)
  })

  test('a beginning that does not end is replaced, with the rest of the word', () => {
    const text = `one eyJ${'a'.repeat(9_000)}.eyJ${'b'.repeat(9_000)}.ccc two`
    expect(shown([...text])).toBe('one [token] two')
    expect(shown([text])).toBe('one [token] two')
    const long = { name: 'long', pattern: /<<[^>]+>>/, beginning: /<<[^>]*>?$/ }
    expect(shown([...`a <<${'b'.repeat(500)}>> c`], { redact: [long] })).toBe('a [long] c')
  })

  test('however the text is cut', () => {
    const text = 'To ann@mail.example: 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00 and sk-abcdefghijklmnop1234!'
    const expected = 'To [email]: [credit card], [IBAN] and [secret key]!'
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: text.length - 1 }))
    fc.assert(
      fc.property(cuts, (places) => {
        const borders = [0, ...places.sort((a, b) => a - b), text.length]
        const pieces = borders.slice(1).map((end, index) => text.slice(borders[index], end))
        expect(shown(pieces)).toBe(expected)
      }),
    )
  })

  test('and whatever text it is, nothing else is changed or lost', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme' })), (pieces) => {
        expect(shown(pieces, { redact: [] })).toBe(pieces.join(''))
      }),
    )
  })

  test('words come out as soon as they are whole', () => {
    const text = new GuardedText(resolveOptions({}), () => undefined)
    expect(['Hel', 'lo, wor', 'ld. Next'].map((piece) => text.take(piece))).toEqual(['', 'Hello, ', 'world. '])
    expect(text.flush()).toBe('Next')
  })

  test.each([['A'], ['a'], ['1 '], ['eyJ-'], ['a.'], ['a@'], ['A1 A1']])(
    'no text makes it slow: %j, 100,000 times',
    (piece) => {
      const text = piece.repeat(100_000)
      // An exponential or cubic search would not come to its end within the time of this test.
      expect(shown([`${text}\n`, text.slice(0, 1_000)]).length).toBe(text.length + 1 + Math.min(text.length, 1_000))
    },
  )

  test.each([['1 '], ['1-'], ['4111 '], ['AA11 ']])(
    'what looks like numbers is looked at few times, however much comes: %j',
    (piece) => {
      const looks = (length: number, size: number) => {
        let count = 0
        const counted = ({ name, pattern, accept }: Required<Omit<Rule, 'beginning' | 'replacement'>>): Rule => {
          const countedAccept = (found: string) => {
            count += 1
            accept(found)
            return false
          }
          return { name, pattern, accept: countedAccept }
        }
        const text = piece.repeat(length / piece.length)
        const pieces = text.match(new RegExp(`.{1,${size}}`, 'g')) ?? []
        shown(pieces, { redact: [counted(RULES.creditCard), counted(RULES.iban)] })
        return count / length
      }
      // Six a group: once to see what can come out, and once when it does.
      expect(looks(2_000, 2_000)).toBeLessThan(7)
      expect(looks(20_000, 20_000)).toBeLessThan(7)
      expect(looks(2_000, 4)).toBeLessThan(12)
      expect(looks(20_000, 4)).toBeLessThan(12)
    },
  )

  test('and the answers are those of trying all', () => {
    const part = fc.oneof(
      fc.stringMatching(/^[ A-Z0-9-]{0,12}$/),
      fc.constantFrom('4111 1111 1111 1111', '4222222222222', 'BE68 5390 0754 7034', ' ', '-', '1', ' 1', 'AA11 '),
    )
    const odd: Rule = { name: 'odd', pattern: /-? ?\d[\d -]*/, accept: (found) => found.length % 7 === 3 }
    const rules = [RULES.creditCard, RULES.iban, odd].map(compile)
    fc.assert(
      fc.property(fc.array(part, { maxLength: 20 }), (parts) => {
        const text = parts.join('')
        for (const rule of rules) expect([...search(text, rule)]).toEqual(searchAll(text, rule))
      }),
      { numRuns: 2_000 },
    )
  })

  test('rules of one’s own', () => {
    const ticket = { name: 'ticket', pattern: /tck-\d{6}/i, replacement: '<ticket>' }
    const odd = { name: 'odd', pattern: /\bn\d+/, accept: (found: string) => Number(found.slice(1)) % 2 === 1 }
    expect(shown(['see TCK-', '123456, n12 and n', '13'], { redact: [ticket, odd] })).toBe(
      'see <ticket>, n12 and [odd]',
    )
  })

  test('what is too long is cut off, once and visibly', () => {
    expect(shown(['one two ', 'three four ', 'five'], { maxTextLength: 9 })).toBe('one two t […]')
  })

  test('no character is cut in halves', () => {
    const halves = /\p{Surrogate}/u
    const text = new GuardedText(resolveOptions({}), () => undefined)
    const pieces = [...('汉'.repeat(127) + '😀'.repeat(50))].map((piece) => text.take(piece))
    expect([...pieces, text.flush()].filter((piece) => halves.test(piece))).toEqual([])
    expect(shown(['a😀😀'], { maxTextLength: 2 })).toBe('a […]')
  })

  test('bad options are refused by name', () => {
    expect(() => contentGuard({ redact: ['emial' as never] })).toThrow(/redact/)
    expect(() => contentGuard({ longestMatch: 0 })).toThrow(/longestMatch/)
  })
})

describe('in a worker', () => {
  async function run(handle: (context: AgentContext) => Promise<unknown>, options: ContentGuardOptions = {}) {
    const house = new House()
    const guard = contentGuard(options)
    await house.work((_command, context) => handle(context), { plugins: [guard] })
    const events: SessionEvent[] = []
    const result = await house.client().ask({ ...send, onEvent: (event) => events.push(event) })
    return { result, events, text: foldText(events), guard, house }
  }

  test('a secret that is streamed letter by letter never reaches Redis; all other events are cleaned, too', async () => {
    const { events, text, guard, house } = await run(async (context) => {
      for (const letter of 'Ask ann@mail.example.') void context.emitChunk(letter)
      await context.emitState('mailing ann@mail.example')
      await context.emitData({ to: ['ann@mail.example'], at: new Date(0), n: 1, 'x@y.example': null })
      await context.emitArtifact({ name: 'a.txt', content: 'sk-abcdefghijklmnop1234' })
    })
    expect(text).toBe('Ask [email].')
    expect(events).toMatchObject([
      { type: 'chunk', content: 'Ask ' },
      { type: 'state', state: 'mailing [email]' },
      { type: 'data', data: { to: ['[email]'], at: '1970-01-01T00:00:00.000Z', n: 1, 'x@y.example': null } },
      { type: 'artifact', artifact: { name: 'a.txt', content: '[secret key]' } },
      { type: 'chunk', content: '[email].' },
      { type: 'done' },
    ])
    expect(JSON.stringify(await house.events('s'))).not.toContain('ann@')
    expect(guard.counts).toEqual({ email: 3, 'secret key': 1 })
  })

  test('text that is held back comes out in its own role, with its own metadata', async () => {
    const { events } = await run(async (context) => {
      await context.emitChunk({ content: 'my secret plan', role: 'thinking' }, { metadata: { model: 'deep' } })
      await context.emitChunk({ content: 'Hello there', role: 'assistant' }, { metadata: { model: 'fast' } })
    })
    expect(events).toMatchObject([
      { type: 'chunk', content: 'my secret ', role: 'thinking', metadata: { model: 'deep' } },
      { type: 'chunk', content: 'plan', role: 'thinking', metadata: { model: 'deep' } },
      { type: 'chunk', content: 'Hello ', role: 'assistant', metadata: { model: 'fast' } },
      { type: 'chunk', content: 'there', role: 'assistant', metadata: { model: 'fast' } },
      { type: 'done' },
    ])
  })

  test('a rule that fits what events are called changes what they say, and no more', async () => {
    const { events } = await run(
      async (context) => {
        await context.emitState('the state of the data')
        await context.emitData({ type: 'data' })
        await context.emitArtifact({ name: 'an artifact' })
      },
      { redact: [{ name: 'x', pattern: /state|data|artifact/ }] },
    )
    expect(events).toMatchObject([
      { type: 'state', state: 'the [x] of the [x]' },
      { type: 'data', data: { type: '[x]' } },
      { type: 'artifact', artifact: { name: 'an [x]' } },
      { type: 'done', status: 'COMPLETED' },
    ])
  })

  test('an event that is too large fails the emit, and the task if it does not catch that', async () => {
    const { result } = await run((context) => context.emitData('x'.repeat(100)), { maxEventBytes: 50 })
    expect(result).toMatchObject({ status: 'FAILED', error: { message: expect.stringContaining('the limit is 50') } })
  })

  test('text comes out before a question, and around steps, and only once when the handler runs again', async () => {
    const house = new House()
    await house.work(
      async (_command, context) => {
        void context.emitChunk('Which ci')
        void context.emitChunk('ty')
        await context.step('look', () => {
          void context.emitChunk('(looking')
          void context.emitChunk(' around)')
        })
        void context.emitChunk('?')
        const answer = await context.askUser('city?')
        void context.emitChunk(` ${answer}`)
        return { answer }
      },
      { plugins: [contentGuard()], suspendAfterMs: 0 },
    )
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    await waitFor(async () => (await client.getTask({ sessionId: 's', messageId }))?.status === 'WAITING_USER')
    const said = async () =>
      (await house.events('s')).flatMap(({ event_type: type, data, metadata }) => {
        const { content } = data as { content?: string }
        const { step } = metadata as { step?: string }
        if (type === 'chunk') return [step === undefined ? content : `step: ${content}`]
        return type === 'ask_user' || type === 'rewind' ? [type] : []
      })
    const before = ['Which ', 'city', 'step: (looking ', 'step: around)', '?', 'ask_user']
    expect(await said()).toEqual(before)
    const [question] = await client.pendingAsks('s')
    await client.reply({ sessionId: 's', messageId, askId: question?.askId ?? '', content: 'Oslo' })
    expect((await client.result({ sessionId: 's', messageId })).data).toEqual({ answer: 'Oslo' })
    expect(await said()).toEqual([...before, ' ', 'Oslo'])
  })
})
