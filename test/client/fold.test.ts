import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EMPTY_VIEW, foldEvent, foldEvents, type SessionView, taskIn } from '../../src/client/fold.ts'
import type { TaskView } from '../../src/client/task-view.ts'
import type { EventBody, SessionEvent } from '../../src/protocol/event.ts'

/** An event as a stream gives it; `number` becomes its id. */
function event(number: number, body: EventBody, messageId = 'm', attempt = 1): SessionEvent {
  const origin = { sessionId: 's', parentMessageId: '', agentType: 'agent', traceId: 't', timestamp: 0, metadata: {} }
  return { ...origin, ...body, id: `${number}-0`, messageId, attempt } as SessionEvent
}

/** Events in order, from 1. */
const stream = (...bodies: EventBody[]) => bodies.map((body, index) => event(index + 1, body))
const chunk = (content: string): EventBody => ({ type: 'chunk', content })
const rewind = (toId: string): EventBody => ({ type: 'rewind', toId })
const done: EventBody = { type: 'done', status: 'COMPLETED', result: 7 }
const failed: EventBody = { type: 'done', status: 'FAILED', error: { code: 'GW_TASK_FAILED', message: 'boom' } }
const retry: EventBody = { type: 'error', code: 'GW_TASK_FAILED', message: 'boom', retrying: true }

function only(view: SessionView): TaskView {
  expect(view.tasks).toHaveLength(1)
  return view.tasks[0] as TaskView
}

const textOf = (view: SessionView, messageId: string) => taskIn(view, messageId)?.text

describe('a task', () => {
  test('is what it said, with the ids of its events', () => {
    const artifact = { name: 'map.png', url: 'https://x' }
    const view = only(
      foldEvents(
        stream(
          ...[{ type: 'state', state: 'thinking' } as const, chunk('Hel'), chunk('lo')],
          { type: 'artifact', artifact },
          { type: 'data', data: { n: 1 } },
          { type: 'state', state: 'asking', detail: [1] },
          { type: 'ask_user', askId: 'a', prompt: 'Sure?', options: ['yes', 'no'] },
        ),
      ),
    )
    expect(view).toMatchObject({
      ...{ messageId: 'm', agentType: 'agent', attempt: 1, status: 'WAITING_USER', text: 'Hello', lastId: '7-0' },
      states: [
        { id: '1-0', state: 'thinking' },
        { id: '6-0', state: 'asking', detail: [1] },
      ],
      artifacts: [{ id: '4-0', artifact }],
      data: [{ id: '5-0', data: { n: 1 } }],
      asks: [{ id: '7-0', askId: 'a', prompt: 'Sure?', options: ['yes', 'no'] }],
      ...{ error: null, result: null },
    })
  })

  test('runs on after its question, and ends with its result or its error', () => {
    const asked = stream({ type: 'ask_user', askId: 'a', prompt: '?' }, chunk('x'))
    expect(only(foldEvents(asked)).status).toBe('RUNNING')
    expect(only(foldEvents(stream(chunk('x'), done)))).toMatchObject({ status: 'COMPLETED', result: 7, error: null })
    expect(only(foldEvents(stream(chunk('x'), failed)))).toMatchObject({
      ...{ status: 'FAILED', result: null, text: 'x', error: { code: 'GW_TASK_FAILED', message: 'boom' } },
    })
  })

  test('that failed and is tried again keeps its text until the next attempt begins', () => {
    const events = stream(chunk('half'), retry, rewind('0-0'), chunk('whole'), done)
    expect(only(foldEvents(events.slice(0, 2)))).toMatchObject({
      ...{ status: 'RETRYING', text: 'half', error: { message: 'boom' } },
    })
    expect(only(foldEvents(events.slice(0, 3)))).toMatchObject({ status: 'RUNNING', text: '', error: null })
    expect(only(foldEvents(events))).toMatchObject({ status: 'COMPLETED', text: 'whole' })
  })

  test('a rewind takes back what came after its event, of every kind, and nothing before', () => {
    const said = [chunk('a'), { type: 'state', state: 's1' } as const, { type: 'data', data: 1 } as const]
    const events = stream(
      ...[...said, ...said, { type: 'artifact', artifact: { name: 'x' } } as const, rewind('4-0'), chunk('b')],
    )
    const view = only(foldEvents(events))
    expect(view).toMatchObject({ text: 'aab', artifacts: [] })
    expect([view.states, view.data].map((list) => list.map(({ id }) => id))).toEqual([...[['2-0'], ['3-0']]])
  })

  test('a rewind to an event of another task or of none cuts in between', () => {
    const events = [event(1, chunk('a')), event(2, chunk('x'), 'other'), event(3, chunk('b')), event(4, rewind('2-0'))]
    expect(textOf(foldEvents(events), 'm')).toBe('a')
    expect(textOf(foldEvents(events), 'other')).toBe('x')
  })

  test('ids are compared as numbers, also their second part', () => {
    const ids = ['9-9', '9-10', '10-0']
    const events = ids.map((id) => ({ ...event(1, chunk('a')), id }))
    expect(only(foldEvents([...events, { ...event(1, rewind('9-10')), id: '10-1' }])).text).toBe('aa')
  })

  test('what comes after its end is passed over', () => {
    const events = stream(chunk('a'), done, chunk('late'), retry, { type: 'state', state: 'late' })
    expect(only(foldEvents(events))).toMatchObject({ text: 'a', status: 'COMPLETED', states: [], lastId: '2-0' })
  })

  test('that was redriven has a new life', () => {
    const events = stream(chunk('a'), failed, rewind('0-0'), chunk('b'), done)
    expect(only(foldEvents(events.slice(0, 4)))).toMatchObject({ text: 'b', status: 'RUNNING', error: null })
    expect(only(foldEvents(events))).toMatchObject({ text: 'b', status: 'COMPLETED', result: 7, error: null })
  })

  test('that was redriven and cancelled before it could speak has its second end', () => {
    const cancelled: EventBody = { type: 'done', status: 'CANCELLED', error: { code: 'GW_CANCELLED', message: 'no' } }
    expect(only(foldEvents(stream(chunk('a'), failed, cancelled)))).toMatchObject({
      ...{ text: 'a', status: 'CANCELLED', error: { code: 'GW_CANCELLED' } },
    })
  })

  test('an end that the reader made from the record is the same end', () => {
    const view = foldEvents(stream(chunk('a'), done))
    const again = { ...event(2, { ...done, result: undefined }), timestamp: 5 } as SessionEvent
    expect(foldEvent(view, again)).toBe(view)
  })
})

describe('a session', () => {
  test('keeps its tasks apart, in the order in which they spoke, with their parents', () => {
    const child = { ...event(2, chunk('c'), 'child'), parentMessageId: 'm' }
    const view = foldEvents([event(1, chunk('a')), child, event(3, chunk('b')), event(4, done, 'child')])
    expect(
      view.tasks.map(({ messageId, parentMessageId, text, status }) => [messageId, parentMessageId, text, status]),
    ).toEqual([
      ['m', '', 'ab', 'RUNNING'],
      ['child', 'm', 'c', 'COMPLETED'],
    ])
    expect(view.lastId).toBe('4-0')
    expect(taskIn(view, 'nobody')).toBeUndefined()
  })

  test('tells of a gap, and takes in the event that bears the same id', () => {
    const gap = { ...event(5, chunk('')), type: 'gap', fromId: '1-0', messageId: '' } as unknown as SessionEvent
    const view = foldEvents([gap, event(5, chunk('rest'))])
    expect(view).toMatchObject({ hasGap: true, tasks: [{ text: 'rest' }] })
    expect(foldEvent(view, gap)).toBe(view)
  })

  test('passes over types of event that it does not know', () => {
    const odd = event(2, { type: 'applause' } as unknown as EventBody)
    expect(only(foldEvents([event(1, chunk('a')), odd, event(3, chunk('b'))])).text).toBe('ab')
  })

  describe('of many tasks is not searched through', () => {
    const MANY = 1_000
    const names = Array.from({ length: MANY }, (_, index) => `m-${index}`)

    /** Counts how often an object is asked for its message id. */
    function counted<T extends object>(objects: readonly T[], name: (index: number) => string) {
      const count = { reads: 0 }
      const get = (index: number) => () => {
        count.reads += 1
        return name(index)
      }
      const watched = objects.map((one, index) => Object.defineProperty({ ...one }, 'messageId', { get: get(index) }))
      return { count, watched }
    }

    test('for the tasks that speak while it is folded', () => {
      const events = [...names, ...names].map((name, index) => event(index + 1, chunk('x'), name))
      const { count, watched } = counted(events, (index) => names[index % MANY] as string)
      const view = foldEvents(watched)
      expect(view.tasks.map(({ messageId, text }) => [messageId, text])).toEqual(names.map((name) => [name, 'xx']))
      expect(count.reads).toBeLessThan(10 * watched.length)
    })

    test('for the task that spoke last', () => {
      const before = foldEvents(names.map((name, index) => event(index + 1, chunk('x'), name)))
      const { count, watched } = counted(before.tasks, (index) => names[index] as string)
      const last = names.at(-1) as string
      const view = foldEvent({ ...before, tasks: watched }, event(MANY + 1, chunk('y'), last))
      expect(textOf(view, last)).toBe('xy')
      expect(count.reads).toBeLessThan(10)
    })
  })

  test('names like __proto__ are names', () => {
    const view = foldEvents([event(1, chunk('a'), '__proto__'), event(2, chunk('b'), 'constructor')])
    expect([textOf(view, '__proto__'), textOf(view, 'constructor'), textOf(view, 'toString')]).toEqual([
      ...['a', 'b', undefined],
    ])
  })
})

/** What one attempt of a task does: it speaks, and where a step was interrupted it takes back some of it. */
const spoken = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: fc.constant('chunk' as const), content: fc.string({ maxLength: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('state' as const), state: fc.string({ maxLength: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('data' as const), data: fc.jsonValue() }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('step' as const), back: fc.nat(6) }) },
)
const attempts = fc.array(fc.array(spoken, { maxLength: 8 }), { minLength: 1, maxLength: 4 })
const isEnded = fc.boolean()
/** Some tasks, and whose turn it is to speak next. */
const session = fc.record({
  tasks: fc.array(fc.record({ attempts, isEnded }), { minLength: 1, maxLength: 3 }),
  turns: fc.array(fc.nat(2), { maxLength: 80 }),
})
type Session = typeof session extends fc.Arbitrary<infer Value> ? Value : never

interface Played {
  readonly events: SessionEvent[]
  /** Text of the last attempt of each task, told by a plain list that knows no events. */
  readonly texts: Map<string, string>
}

/** Writes the tasks' events in turns into one stream. */
function play({ tasks, turns }: Session): Played {
  const events: SessionEvent[] = []
  const texts = new Map<string, string>()
  const write = (body: EventBody, messageId: string, attempt: number) => {
    events.push(event(events.length + 1, body, messageId, attempt))
    return events.length
  }
  const scripts = tasks.map((task, index) => script(`m${index}`, task, write, texts))
  for (const turn of turns) scripts[turn % scripts.length]?.next()
  for (const one of scripts) while (!one.next().done);
  return { events, texts }
}

function* script(
  messageId: string,
  { attempts: all, isEnded: ends }: Session['tasks'][number],
  write: (body: EventBody, messageId: string, attempt: number) => number,
  texts: Map<string, string>,
): Generator<void> {
  for (const [index, bodies] of all.entries()) {
    const attempt = index + 1
    let kept: { id: number; text: string }[] = []
    const note = () => texts.set(messageId, kept.map(({ text }) => text).join(''))
    if (index > 0) {
      write(rewind('0-0'), messageId, attempt)
      note()
      yield
    }
    for (const body of bodies) {
      if (body.type === 'step') {
        const to = kept.at(-1 - body.back)?.id ?? 0
        kept = kept.filter(({ id }) => id <= to)
        write(rewind(`${to}-0`), messageId, attempt)
      } else {
        kept.push({ id: write(body, messageId, attempt), text: body.type === 'chunk' ? body.content : '' })
      }
      note()
      yield
    }
    if (index < all.length - 1) write(retry, messageId, attempt)
  }
  if (!ends) return
  write(done, messageId, all.length)
  write(chunk('too late'), messageId, all.length)
}

describe('for any interleaving of attempts', () => {
  test('the text is that of the last one', () => {
    fc.assert(
      fc.property(session, (one) => {
        const { events, texts } = play(one)
        const view = foldEvents(events)
        for (const [messageId, text] of texts) expect(textOf(view, messageId)).toBe(text)
      }),
      { numRuns: 300 },
    )
  })

  test('a fold over a part and then the rest is the fold over all, also one by one, and twice changes nothing', () => {
    fc.assert(
      fc.property(session, fc.nat(), fc.nat(), (one, cut, overlap) => {
        const { events } = play(one)
        const at = cut % (events.length + 1)
        const all = foldEvents(events)
        const first = foldEvents(events.slice(0, at))
        const kept = structuredClone(first)
        expect(foldEvents(events.slice(at), first)).toEqual(all)
        // Some UIs keep their state as JSON, and read again from a little earlier.
        const from = Math.max(0, at - (overlap % 5))
        expect(foldEvents(events.slice(from), JSON.parse(JSON.stringify(kept)))).toEqual(
          JSON.parse(JSON.stringify(all)),
        )
        expect(events.reduce(foldEvent, EMPTY_VIEW)).toEqual(all)
        expect(foldEvents(events, all)).toBe(all)
        expect(first, 'the earlier view is as it was').toEqual(kept)
      }),
      { numRuns: 300 },
    )
  })

  test('no view that was handed out changes, also not where frozen', () => {
    fc.assert(
      fc.property(session, (one) => {
        const { events } = play(one)
        let view = EMPTY_VIEW
        for (const next of events) view = freeze(foldEvent(freeze(view), next))
        expect(view).toEqual(foldEvents(events))
      }),
      { numRuns: 50 },
    )
  })
})

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    Object.values(value).forEach(freeze)
  }
  return value
}
