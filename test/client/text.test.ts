import { describe, expect, test } from 'vitest'
import { foldEvents, taskIn } from '../../src/client/fold.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { collect, Gate, House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }
const soon = { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 5 } } as const
const WORDS = Array.from({ length: 40 }, (_, index) => `word-${index} `)

describe('the text of a task', () => {
  test('that fails twice half-way is that of its third attempt, for each way to read it', async () => {
    const house = new House()
    await house.work(
      async (_command, context) => {
        for (const [index, word] of WORDS.entries()) {
          if (context.attempt < 3 && index === context.attempt * 10) throw new Error(`attempt ${context.attempt}`)
          await context.emitChunk(word)
        }
        await context.emitArtifact({ name: `by-${context.attempt}` })
      },
      { retry: soon },
    )
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    const seen: string[] = []
    const text = await client.text('s', messageId, { timeoutMs: 15_000, onText: (now) => seen.push(now) })
    expect(text).toBe(WORDS.join(''))
    // Each change was told: ten words, none, twenty words, none, all forty.
    expect(seen.map((now) => now.split(' ').length - 1)).toEqual([
      ...[10, 0, 20, 0, 40].flatMap((count) => (count === 0 ? [0] : Array.from({ length: count }, (_, n) => n + 1))),
    ])
    const events = await collect(client.subscribe('s', { messageId }))
    expect(events.map(({ type }) => type).filter((type) => type !== 'chunk')).toEqual([
      ...['error', 'rewind', 'error', 'rewind', 'artifact', 'done'],
    ])
    const view = taskIn(foldEvents(events), messageId)
    expect(view).toMatchObject({ text: WORDS.join(''), status: 'COMPLETED', attempt: 3, error: null })
    expect(view?.artifacts.map(({ artifact }) => artifact.name)).toEqual(['by-3'])
    // Late comers get the same, at once.
    expect(await client.text('s', messageId)).toBe(text)
    expect(await house.client().text('s', messageId)).toBe(text)
  })

  test('of a task that fails for good is what stood at its end', async () => {
    const house = new House()
    await house.work(
      async (_command, context) => {
        await context.emitChunk(`attempt ${context.attempt}`)
        throw new Error('boom')
      },
      { retry: { ...soon, maxAttempts: 2 } },
    )
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    expect(await client.text('s', messageId)).toBe('attempt 2')
    expect((await client.getTask({ sessionId: 's', messageId }))?.status).toBe('FAILED')
  })

  test('is only its own, although others speak in the session', async () => {
    const house = new House()
    await house.work(async (command, context) => {
      for (let n = 0; n < 20; n++) await context.emitChunk(`${command.content}${n} `)
    })
    const client = house.client()
    const names = ['a', 'b', 'c', 'd']
    const sent = await Promise.all(names.map((content) => client.sendMessage({ ...send, content })))
    const texts = await Promise.all(sent.map(({ messageId }) => client.text('s', messageId)))
    expect(texts).toEqual(names.map((name) => Array.from({ length: 20 }, (_, n) => `${name}${n} `).join('')))
    const whole = foldEvents(await collect(client.subscribe('s', { after: '0', follow: false })))
    expect(sent.map(({ messageId }) => taskIn(whole, messageId)?.text)).toEqual(texts)
  })

  test('can be waited for before the task was sent', async () => {
    const house = new House()
    await house.work((_command, context) => context.emitChunk('early'))
    const client = house.client()
    const text = client.text('s', 'm-1', { timeoutMs: 15_000 })
    await client.sendMessage({ ...send, messageId: 'm-1' })
    expect(await text).toBe('early')
  })

  test('goes on into the life that a dead letter began after its end', async () => {
    const house = new House()
    await house.work(
      async (_command, context) => {
        await context.emitChunk(context.fencingToken === 1 ? 'first life' : 'second life')
        if (context.fencingToken === 1) throw new Error('boom')
      },
      { retry: { maxAttempts: 1 } },
    )
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    expect(await client.text('s', messageId)).toBe('first life')
    // What a redrive does: the record waits for an entry whose turn is its epoch, and that entry goes on the stream.
    const [letter] = await waitFor(async () => {
      const letters = await client.listDeadLetters('agent')
      return letters.length > 0 && letters
    })
    const record = house.keys.task('s', messageId)
    await house.redis.hdel(record, 'finished_at', 'end_id', 'error')
    await house.redis.hset(record, 'fence', 'Q:1::', 'failures', '0')
    const second = client.text('s', messageId, { timeoutMs: 15_000 })
    await house.add({ data: letter?.data ?? '', turn: '1' })
    expect(await second).toBe('second life')
    expect(await client.text('s', messageId)).toBe('second life')
  })
})

describe('giving up', () => {
  test('on time, by signal, and on a bad argument; nothing stays open', async () => {
    const house = new House()
    const gate = new Gate()
    await house.work(async (_command, context) => {
      await context.emitChunk('half')
      await gate.pass()
    })
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    await gate.reached(1)
    await expect(client.text('s', messageId, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'GW_TIMEOUT' })
    const leave = new AbortController()
    const left = client.text('s', messageId, { signal: leave.signal, onText: () => leave.abort(new Error('enough')) })
    await expect(left).rejects.toThrow('enough')
    await expect(client.text('s', 'no good')).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
    await expect(client.text('s', messageId, { timeoutMs: -1 })).rejects.toMatchObject({ code: 'GW_INVALID_ARGUMENT' })
    gate.open()
    expect(await client.text('s', messageId)).toBe('half')
  })

  test('what onText throws comes through', async () => {
    const house = new House()
    await house.work((_command, context) => context.emitChunk('x'))
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    const onText = () => {
      throw new RangeError('no room')
    }
    await expect(client.text('s', messageId, { onText })).rejects.toThrow('no room')
    const later = async () => onText()
    await expect(client.text('s', messageId, { onText: later })).rejects.toThrow('no room')
  })

  test('a client that is closed meanwhile says so', async () => {
    const house = new House()
    const client = house.client()
    const text = client.text('s', 'm-never')
    const said = expect(text).rejects.toMatchObject({ code: 'GW_CLOSED' })
    await client.close()
    await said
    await expect(client.text('s', 'm')).rejects.toMatchObject({ code: 'GW_CLOSED' })
  })
})
