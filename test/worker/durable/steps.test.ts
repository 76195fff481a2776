import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { AgentContext } from '../../../src/agent/context.ts'
import { definePlugin } from '../../../src/agent/plugin.ts'
import { GatewayError } from '../../../src/errors.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import { deferred } from '../../../src/util/deferred.ts'
import { Gate, House } from '../harness.ts'
import { folded, rawEvents, textOf } from './crew.ts'

const send = { targetAgentType: 'agent', sessionId: 's', messageId: 'm', content: 'hi' }
const quick = { retry: { maxAttempts: 3, backoff: { type: 'fixed', delayMs: 10 } } } as const

const single = { maxAttempts: 1 } as const

/** What a reader of the task has in the end, and how often he was told to forget. */
async function view(house: House): Promise<{ text: string; rewinds: number }> {
  const events = await rawEvents(house, 's')
  return { text: textOf(folded(events, 'm')), rewinds: events.filter((e) => e.event_type === 'rewind').length }
}

describe('step', () => {
  test('runs once, whatever becomes of the attempts after it; what it said is kept, and counts as content', async () => {
    const house = new House()
    let ran = 0
    await house.work(async (_, context) => {
      await context.emitChunk('a')
      const value = await context.step('think', async () => {
        ran += 1
        await context.emitChunk(`<${Math.random()}>`)
        return { when: new Date(0), n: ran }
      })
      await context.emitChunk('b')
      if (context.attempt < 3) throw new Error('again')
      return { value }
    }, quick)
    const { data, content, attempts } = await house.client().ask(send)
    expect([ran, attempts]).toEqual([1, 3])
    // As JSON has it, in the first run as in the last.
    expect(data).toEqual({ value: { when: '1970-01-01T00:00:00.000Z', n: 1 } })
    const { text } = await view(house)
    expect(text).toMatch(/^a<0\.[\de-]+>b$/)
    expect(content).toBe(text)
  })

  test.each([['a#0/step:b'], ['a#0\\/step:b'], ['a#0~1/step:b'], ['a#0/step:b#0/step:c']])(
    "by the name '%s' is no step in the body of another",
    async (name) => {
      const house = new House()
      await house.work(async (_, context) => {
        await context.step('a', async () => {
          const values = [await context.step('b', () => context.step('c', () => 'inner')), context.uuid()]
          return values
        })
        const others = ['a#0/step:b', 'a#0\\/step:b'].filter((other) => other !== name)
        for (const other of others) await context.step(other, () => 'other')
        const value = await context.step(name, () => 'flat')
        if (context.attempt < 3) throw new Error('again')
        return value
      }, quick)
      await expect(house.client().ask(send)).resolves.toMatchObject({ data: 'flat', attempts: 3 })
    },
  )

  test.each([
    { first: 0, second: 3 },
    { first: 3, second: 0 },
  ])('and a replay bear that chunks are joined in one run and not in the other: %j', async ({ first, second }) => {
    const house = new House()
    const gate = new Gate()
    let runs = 0
    const handle = async (_: unknown, context: Parameters<Parameters<House['work']>[0]>[1]) => {
      runs += 1
      for (const text of 'once upon') void context.emitChunk(text)
      await context.step('step', () => {
        for (const text of ' a ') void context.emitChunk(text)
        return null
      })
      for (const text of 'time') void context.emitChunk(text)
      const answer = await context.askUser('which?')
      void context.emitChunk(` ${answer}`)
      if (runs === 1) await gate.pass()
      return null
    }
    const one = await house.work(handle, { coalesceMs: first, suspendAfterMs: 0 })
    const client = house.client()
    await client.sendMessage(send)
    const asked = await waitFor(async () => (await client.pendingAsks('s'))[0])
    await waitFor(async () => (await client.getTask({ sessionId: 's', messageId: 'm' }))?.status === 'WAITING_USER')
    await one.stop()
    await house.work(handle, { coalesceMs: second })
    await client.reply({ sessionId: 's', messageId: 'm', askId: asked.askId, content: 'then' })
    await client.result({ sessionId: 's', messageId: 'm' })
    expect([runs, await view(house)]).toEqual([2, { text: 'once upon a time then', rewinds: 0 }])
  })

  test('that is interrupted runs again, and what it had said is taken back, what was said before stays', async () => {
    const house = new House()
    const gate = new Gate()
    let ran = 0
    const handle = async (_: unknown, context: Parameters<Parameters<House['work']>[0]>[1]) => {
      await context.emitChunk('before ')
      const first = await context.step('first', async () => {
        await context.emitChunk('first ')
        return 1
      })
      await context.step('second', async () => {
        ran += 1
        await context.emitChunk(`half${ran} `)
        if (ran === 1) await gate.pass()
        await context.emitChunk('whole ')
      })
      await context.emitChunk(`after ${first}`)
      return 'done'
    }
    const dying = await house.work(handle, { workerId: 'w-1' })
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    await dying.stop()
    await house.work(handle, { workerId: 'w-2' })
    expect((await client.result({ sessionId: 's', messageId: 'm' })).data).toBe('done')
    expect(await view(house)).toEqual({ text: 'before first half2 whole after 1', rewinds: 1 })
    gate.open()
  })

  test('that throws is the handler’s to see to, who may call another of the same name', async () => {
    const house = new House()
    let ran = 0
    await house.work(async (_, context) => {
      const attempt = () =>
        context.step('risky', () => {
          ran += 1
          if (ran === 1) throw new RangeError('first time')
          return ran
        })
      try {
        return await attempt()
      } catch (error) {
        return `${(error as Error).name} ${await attempt()}`
      }
    })
    expect((await house.client().ask(send)).data).toBe('RangeError 2')
  })

  test('may hold steps and calls; several at once keep their words apart', async () => {
    const house = new House()
    let inner = 0
    await house.work(
      async (_, context) => {
        if (context.agentType === 'child') return 'reply'
        const results = await Promise.all(
          ['x', 'y'].map((name) =>
            context.step(name, async () => {
              await context.emitChunk(`${name}1`)
              const { content } = await context.callAgent({ targetAgentType: 'child', content: name })
              const value = await context.step('inner', async () => {
                inner += 1
                await context.emitChunk(`(${name})`)
                return content
              })
              await context.emitChunk(`${name}2`)
              return `${name} ${value}`
            }),
          ),
        )
        if (context.attempt === 1) throw new Error('again')
        return results
      },
      { ...quick, capabilities: ['agent', 'child'] },
    )
    const { data } = await house.client().ask(send)
    expect([data, inner]).toEqual([['x reply', 'y reply'], 2])
    const { text } = await view(house)
    for (const word of ['x1', '(x)', 'x2', 'y1', '(y)', 'y2']) expect(text.split(word)).toHaveLength(2)
  })

  describe('that throws', () => {
    /** Runs a handler that waits, suspended, for an answer, and then runs again from the top. */
    async function again(handle: (context: AgentContext, run: number) => Promise<unknown>) {
      const house = new House()
      let runs = 0
      const answer = deferred()
      await house.work(() => answer.promise, { capabilities: ['child'] })
      const hire = () =>
        house.work(
          async (_, context) => {
            runs += 1
            const found = await handle(context, runs)
            await context.callAgent({ targetAgentType: 'child', content: 'x' })
            await context.emitChunk('end')
            return { runs, found }
          },
          { suspendAfterMs: 0, shutdownTimeoutMs: 10, ...quick },
        )
      const worker = await hire()
      const client = house.client()
      await client.sendMessage(send)
      const ref = { sessionId: 's', messageId: 'm' }
      await waitFor(async () => (await client.getTask(ref))?.status === 'WAITING_AGENT')
      answer.resolve()
      return { house, worker, hire, ended: client.result({ ...ref, timeoutMs: 10_000 }) }
    }
    const say = (context: AgentContext, name: string) => context.step(name, () => void context.emitChunk(`${name} `))

    test('throws the same whenever its handler runs again, and is not run: what was done instead stays', async () => {
      const errors: unknown[] = []
      let ran = 0
      const { house, ended } = await again(async (context) => {
        try {
          await context.step('model', async () => {
            ran += 1
            await context.emitChunk('half ')
            throw Object.assign(new RangeError('busy', { cause: { code: 'ECONNRESET' } }), { status: 429, request: {} })
          })
        } catch (error) {
          errors.push(error)
          await say(context, 'instead')
        }
      })
      await ended
      expect([ran, await view(house)]).toEqual([1, { text: 'half instead end', rewinds: 0 }])
      const as = { name: 'RangeError', message: 'busy', status: 429, cause: { code: 'ECONNRESET' } }
      expect(errors).toMatchObject([as, as])
      expect(errors[1]).toBeInstanceOf(Error)
      expect(errors[1]).not.toHaveProperty('request')
    })

    test('keeps its words before those of the steps that came after it', async () => {
      const fail = async (context: AgentContext, name: string) => {
        const thrown = context.step(name, async () => {
          await context.emitChunk(`${name} `)
          throw new Error('no')
        })
        await thrown.catch(() => undefined)
      }
      const gate = new Gate()
      const { house, worker, hire, ended } = await again(async (context, run) => {
        await say(context, 'a')
        await fail(context, 'b')
        if (run === 2) await gate.pass()
        await say(context, 'c')
        await fail(context, 'd')
        await context.step('e', () => say(context, 'f'))
      })
      await gate.reached(1)
      await worker.stop()
      await hire()
      const { content, data } = await ended
      expect([content, (await view(house)).text]).toEqual(['a b c d f end', 'a b c d f end'])
      expect(data).toMatchObject({ runs: 3 })
      gate.open()
    })

    test('is tried again in the next attempt, and what was completed in its body stays', async () => {
      const ran = { outer: 0, inner: 0 }
      const { house, ended } = await again(async (context) => {
        const found = await context.step('outer', async () => {
          ran.outer += 1
          const inner = await context.step('inner', async () => {
            ran.inner += 1
            await context.emitChunk('inner ')
            return ran.inner
          })
          await context.emitChunk(`outer${ran.outer} `)
          if (ran.outer < 3) throw new Error('no')
          return { inner, outer: ran.outer }
        })
        return found
      })
      expect(await ended).toMatchObject({ attempts: 3, data: { runs: 4, found: { inner: 1, outer: 3 } } })
      expect(ran).toEqual({ outer: 3, inner: 1 })
      expect((await view(house)).text).toBe('inner outer3 end')
    })

    test('because its worker leaves is run again by the next one', async () => {
      const asleep = new Gate()
      let ran = 0
      const { worker, hire, ended } = await again(async (context, run) => {
        if (run === 1) return 'not yet'
        return context.step('poll', async () => {
          ran += 1
          if (ran > 1) return 'found'
          const left = once(context.signal, 'abort')
          void asleep.pass()
          await left
          throw new Error('broken off')
        })
      })
      await asleep.reached(1)
      await worker.stop()
      await hire()
      expect(await ended).toMatchObject({ attempts: 1, data: { found: 'found' } })
      expect(ran).toBe(2)
      asleep.open()
    })
  })

  test.each([
    ['a name with a line break', 'a\nb', () => 1, 'GW_INVALID_ARGUMENT'],
    ['what JSON cannot carry', 'x', () => 1n, 'GW_INVALID_ARGUMENT'],
    ['what JSON keeps nothing of', 'x', () => new Map([['a', 1]]), 'GW_INVALID_ARGUMENT'],
    ['more than a megabyte', 'x', () => 'x'.repeat(1_048_577), 'GW_PAYLOAD_TOO_LARGE'],
  ])('refuses %s', async (_, name, fn: () => unknown, code) => {
    const house = new House()
    await house.work((_, context) => context.step(name, fn), { retry: { maxAttempts: 1 } })
    expect((await house.client().ask(send)).error).toMatchObject({ code })
  })

  test.each([
    ['without plugins', []],
    [
      'with plugins',
      [definePlugin({ manifest: { pluginId: 'p', version: '1.0.0', name: 'P', description: 'A plugin' } })],
    ],
  ])('refuses what is no function, %s', async (_, plugins) => {
    const house = new House()
    await house.work((_, context) => context.step('x', 'y' as never), { plugins, retry: single })
    expect((await house.client().ask(send)).error).toMatchObject({
      code: 'GW_INVALID_ARGUMENT',
      message: expect.stringContaining("what step 'x' runs"),
    })
  })

  test('that is interrupted takes nothing back of one whose name begins with its key', async () => {
    const house = new House()
    const never = new Gate()
    let run = 0
    const handle = async (_: unknown, context: AgentContext) => {
      run += 1
      const isFirst = run === 1
      await Promise.all([
        context.step('issue', () => 'silent'),
        context.step('issue', async () => {
          await context.emitChunk('two ')
          if (isFirst) await never.pass()
        }),
        context.step('issue#1/comments', () => context.emitChunk('three ')),
      ])
    }
    const first = await house.work(handle, { shutdownTimeoutMs: 10 })
    const client = house.client()
    await client.sendMessage(send)
    const isRecorded = async () => (await house.redis.hlen(house.keys.journal('s', 'm'))) === 6
    await waitFor(async () => (await isRecorded()) && (await view(house)).text.length === 10)
    await first.stop()
    await house.work(handle)
    expect((await client.result(send)).status).toBe('COMPLETED')
    expect(await view(house)).toEqual({ text: 'three two ', rewinds: 1 })
  })
})

describe('what a handler says when it runs again after a suspension', () => {
  /** A handler that calls an agent nobody offers until `open`. */
  async function resumed(
    say: (context: {
      run: number
      emit: (text: string) => Promise<void>
      emitData: AgentContext['emitData']
    }) => Promise<void>,
  ) {
    const house = new House()
    let run = 0
    const gate = deferred()
    await house.work(
      async (_, context) => {
        if (context.agentType === 'child') {
          await gate.promise
          return 'x'
        }
        run += 1
        const emitData: AgentContext['emitData'] = (data, options) => context.emitData(data, options)
        await say({ run, emit: (text) => context.emitChunk(text), emitData })
        await context.callAgent({ targetAgentType: 'child', content: 'x' })
        await context.emitChunk('end')
        return run
      },
      { capabilities: ['agent', 'child'], suspendAfterMs: 20 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => (await client.getTask(send))?.status === 'WAITING_AGENT')
    gate.resolve()
    const { data, content } = await client.result(send)
    expect([data, content]).toEqual([2, (await view(house)).text])
    return { house, ...(await view(house)) }
  }

  test('is dropped if it is the same', async () => {
    const seen = await resumed(async ({ emit }) => {
      await emit('one ')
      void emit('two ')
    })
    expect(seen).toMatchObject({ text: 'one two end', rewinds: 0 })
  })

  test('takes the place of the other if it differs', async () => {
    const seen = await resumed(async ({ run, emit }) => {
      await emit('one ')
      await emit(`${run} `)
      await emit('three ')
    })
    expect(seen).toMatchObject({ text: 'one 2 three end', rewinds: 1 })
  })

  test('also if it is less, or more', async () => {
    const less = await resumed(async ({ run, emit }) => {
      await emit('one ')
      if (run === 1) await emit('only once ')
    })
    expect(less).toMatchObject({ text: 'one end', rewinds: 1 })
    const more = await resumed(async ({ run, emit }) => {
      await emit('one ')
      if (run === 2) await emit('more ')
    })
    expect(more).toMatchObject({ text: 'one more end', rewinds: 0 })
  })

  test('is said again as it was, also where its data has changed since', async () => {
    const { house, rewinds } = await resumed(async ({ run, emit, emitData }) => {
      const progress = { done: 0 }
      const metadata = { of: 0 }
      for (let done = 1; done <= 2; done += 1) {
        progress.done = done
        metadata.of = done
        await emitData(progress, { metadata })
      }
      await emit(`${run} `)
    })
    expect(rewinds).toBe(1)
    const data = folded(await rawEvents(house, 's'), 'm').filter((event) => event.event_type === 'data')
    expect(data.map(({ data, metadata }) => [data, metadata])).toEqual([
      [{ done: 1 }, { of: 1, attempt: 1 }],
      [{ done: 2 }, { of: 2, attempt: 1 }],
    ])
  })
})

describe('recorded values', () => {
  test('are the same in every run, and differ among themselves', async () => {
    const house = new House()
    const runs: unknown[][] = []
    await house.work(async (_, context) => {
      const values = [await context.now(), context.random(), context.random(), context.uuid(), context.uuid()]
      runs.push(values)
      await pause(5)
      if (context.attempt < 3) throw new Error('again')
    }, quick)
    const before = Date.now()
    expect((await house.client().ask(send)).status).toBe('COMPLETED')
    expect(runs).toHaveLength(3)
    expect(runs[1]).toEqual(runs[0])
    expect(runs[2]).toEqual(runs[0])
    const [now, first, second, id, other] = runs[0] as [number, number, number, string, string]
    expect(now).toBeGreaterThanOrEqual(before)
    expect(first).not.toBe(second)
    for (const value of [first, second]) expect(value >= 0 && value < 1).toBe(true)
    expect(id).toMatch(/^[\da-f]{8}-[\da-f]{4}-8[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/)
    expect(id).not.toBe(other)
  })
})

describe('after a failed attempt', () => {
  test('what recorded steps have said is read by itself to be said again, whatever stands behind it', async () => {
    const house = await House.private()
    const [steps, words] = [80, 20]
    await house.work(
      async (_, context) => {
        for (let i = 0; i < steps; i += 1) {
          await context.step('speak', () => {
            for (let word = 0; word < words; word += 1) void context.emitChunk(`${i}.${word} `)
          })
        }
        if (context.attempt === 1) throw new Error('again')
      },
      { ...quick, history: false },
    )
    const written = async () => Number(/total_net_output_bytes:(\d+)/.exec(await house.redis.info('stats'))?.[1])
    const before = await written()
    const client = house.client()
    await client.sendMessage(send)
    expect(await client.result(send)).toMatchObject({ status: 'COMPLETED', attempts: 2 })
    const length = (await house.redis.xrange(house.keys.data('s'), '-', '+')).flat(3).join('').length
    // Also by this test and, in the end, for the answer in words.
    expect((await written()) - before).toBeLessThan(8 * length)
    const said = Array.from({ length: steps * words }, (_, at) => `${Math.floor(at / words)}.${at % words} `)
    expect((await view(house)).text).toBe(said.join(''))
  })

  test('what recorded steps have said is said again, also where the worker leaves before it comes to them', async () => {
    const house = new House()
    const gate = new Gate()
    const handle = async (_: unknown, context: AgentContext) => {
      await context.emitChunk('start ')
      if (context.attempt === 2 && context.workerId === 'w-1') await gate.pass()
      await context.step('speak', () => context.emitChunk('words'))
      if (context.attempt === 1) throw new Error('again')
    }
    const first = await house.work(handle, { ...quick, workerId: 'w-1', shutdownTimeoutMs: 10 })
    const client = house.client()
    await client.sendMessage(send)
    await gate.reached(1)
    await first.stop()
    await house.work(handle, { ...quick, workerId: 'w-2' })
    expect(await client.result(send)).toMatchObject({ status: 'COMPLETED', attempts: 2, content: 'start words' })
    expect((await view(house)).text).toBe('start words')
    gate.open()
  })

  test('what completed is not called again, what failed is', async () => {
    const house = new House()
    const called: string[] = []
    await house.work(
      async ({ content }, context) => {
        if (context.agentType === 'child') {
          called.push(String(content))
          if (content === 'bad' && called.filter((name) => name === 'bad').length === 1) {
            throw new GatewayError('GW_CONTRACT_VIOLATION', { agentType: 'child', direction: 'content', reason: 'no' })
          }
          return `${content}!`
        }
        const good = await context.callAgent({ targetAgentType: 'child', content: 'good' })
        const bad = await context.callAgent({ targetAgentType: 'child', content: 'bad' })
        return [good.content, bad.content, context.attempt]
      },
      { ...quick, capabilities: ['agent', 'child'] },
    )
    expect((await house.client().ask(send)).data).toEqual(['good!', 'bad!', 2])
    expect(called).toEqual(['good', 'bad', 'bad'])
  })

  test.each([
    ['in the next attempt', 'no help'],
    ['in the next run', 'help'],
  ])('a step that comes to its end %s may be followed by something else', async (_, help) => {
    const house = new House()
    let runs = 0
    const helped = deferred()
    await house.work(
      async ({ content }, context) => {
        if (context.agentType === 'child') {
          if (content === 'no help') throw new Error('no help')
          if (content === 'help') await helped.promise
          return `${content}!`
        }
        runs += 1
        const fetched = context.step('fetch', () => {
          if (runs === 1) throw new Error('out of order')
        })
        await fetched.catch(() => context.callAgent({ targetAgentType: 'child', content: help, retry: single }))
        return (await context.callAgent({ targetAgentType: 'child', content: 'go on' })).content
      },
      { ...quick, capabilities: ['agent', 'child'], suspendAfterMs: 20 },
    )
    const client = house.client()
    await client.sendMessage(send)
    await waitFor(async () => runs === 2 || (await client.getTask(send))?.status === 'WAITING_AGENT')
    helped.resolve()
    expect(await client.result({ ...send, timeoutMs: 10_000 })).toMatchObject({ status: 'COMPLETED', data: 'go on!' })
  })
})
