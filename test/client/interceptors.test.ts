import { expect, test } from 'vitest'
import type { Next } from '../../src/agent/interceptor.ts'
import type { ClientInterceptors, SendInput } from '../../src/client/interceptors.ts'
import type { SendAnswer } from '../../src/dispatch/send.ts'
import type { SessionEvent } from '../../src/protocol/event.ts'
import { House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

test('stand around sendMessage and ask, the first outermost, and see the answer', async () => {
  const house = new House()
  await house.work((_command, { metadata }) => metadata)
  const seen: string[] = []
  const marking = (mark: string): ClientInterceptors => ({
    send: async (request, next) => {
      const metadata = { ...request.metadata, [mark]: Object.keys(request.metadata ?? {}).length }
      const answer = await next({ ...request, metadata })
      seen.push(`${mark} ${answer.status}`)
      return answer
    },
  })
  const client = house.client({ interceptors: [marking('a'), marking('b')] })
  expect((await client.ask(send)).data).toEqual({ a: 0, b: 1 })
  const { messageId } = await client.sendMessage(send)
  expect((await client.result({ sessionId: 's', messageId })).data).toEqual({ a: 0, b: 1 })
  expect(seen).toEqual(['b QUEUED', 'a QUEUED', 'b QUEUED', 'a QUEUED'])
})

test('may answer in its place, and nothing is written; what it throws the caller gets', async () => {
  const house = new House()
  const refusal = { success: false, status: 'REJECTED', messageId: 'm', traceId: 't', timestamp: 0 } as const
  const error = { code: 'GW_INVALID_ARGUMENT', message: 'quota is used up' } as const
  const strict = house.client({ interceptors: { send: async () => ({ ...refusal, error }) } })
  expect(await strict.sendMessage(send)).toEqual({ ...refusal, error })
  await expect(strict.ask(send)).rejects.toThrow('quota is used up')
  const rude = house.client({ interceptors: { send: () => Promise.reject(new Error('boom')) } })
  await expect(rude.sendMessage(send)).rejects.toThrow('boom')
  expect(await house.waiting()).toBe(0)
})

test('may answer with a task that was sent earlier: an ask waits for that one, and tells its events', async () => {
  const house = new House()
  await house.work(async (_command, context) => {
    await context.emitChunk('once')
    return context.messageId
  })
  const earlier = await house.client().sendMessage(send)
  const client = house.client({ interceptors: { send: async () => earlier } })
  const { messageId } = earlier
  expect(await client.ask(send)).toMatchObject({ messageId, data: messageId, content: messageId })
  const types: string[] = []
  const onEvent = ({ type }: SessionEvent) => void types.push(type)
  expect(await client.ask({ ...send, onEvent })).toMatchObject({ messageId, data: messageId })
  expect(await client.ask({ ...send, messageId: 'mine', onEvent })).toMatchObject({ messageId, data: messageId })
  expect(types).toEqual(['chunk', 'done', 'chunk', 'done'])
  expect(await client.listTasks({ sessionId: 's' })).toHaveLength(1)
})

test('may name the message, but not rename what the caller has named', async () => {
  const house = new House()
  const naming = house.client({ interceptors: { send: (request, next) => next({ ...request, messageId: 'mine' }) } })
  expect(await naming.sendMessage(send)).toMatchObject({ status: 'QUEUED', messageId: 'mine' })
  expect(await naming.sendMessage({ ...send, messageId: 'yours' })).toMatchObject({
    ...{ success: false, status: 'REJECTED', messageId: 'yours', error: { code: 'GW_INVALID_ARGUMENT' } },
  })
  await expect(naming.ask(send)).rejects.toThrow('messageId is invalid: an interceptor may not change')
})

test('may not rename it by writing into the request either', async () => {
  const house = new House()
  const renaming = (name: 'sessionId' | 'messageId') => {
    const send: ClientInterceptors['send'] = (request, next) => next(Object.assign(request, { [name]: 'mine' }))
    return house.client({ interceptors: { send } })
  }
  expect(await renaming('messageId').sendMessage({ ...send, messageId: 'yours' })).toMatchObject({
    ...{ success: false, status: 'REJECTED', messageId: 'yours', error: { code: 'GW_INVALID_ARGUMENT' } },
  })
  expect(await renaming('sessionId').sendMessage(send)).toMatchObject({ success: false, status: 'REJECTED' })
  // An ask would wait for a task that nobody has sent.
  await expect(renaming('messageId').ask(send)).rejects.toThrow('messageId is invalid: an interceptor may not change')
  expect(await house.waiting()).toBe(0)
})

test('may be objects of a class, alone or among others', async () => {
  const house = new House()
  class Counter implements ClientInterceptors {
    #count = 0

    get count(): number {
      return this.#count
    }

    async send(request: SendInput, next: Next<SendInput, SendAnswer>): Promise<SendAnswer> {
      this.#count += 1
      return next(request)
    }
  }
  const [alone, among] = [new Counter(), new Counter()]
  expect(await house.client({ interceptors: alone }).sendMessage(send)).toMatchObject({ status: 'QUEUED' })
  expect(await house.client({ interceptors: [{}, among] }).sendMessage(send)).toMatchObject({ status: 'QUEUED' })
  expect([alone.count, among.count]).toEqual([1, 1])
})

test('one that forgets to answer, or to hand on the request, is told so', async () => {
  const house = new House()
  const mute = async (request: SendInput, next: Next<SendInput, SendAnswer>) => void (await next(request))
  const forgetful = house.client({ interceptors: { send: mute as never } })
  const fault = {
    code: 'GW_INVALID_ARGUMENT',
    message: expect.stringContaining('interceptors.send is invalid: must answer'),
  }
  await expect(forgetful.sendMessage(send)).rejects.toMatchObject(fault)
  await expect(forgetful.ask(send)).rejects.toMatchObject(fault)
  const empty = house.client({ interceptors: { send: (_request, next) => next(undefined as never) } })
  await expect(empty.sendMessage(send)).rejects.toThrow('the request that an interceptor hands on is invalid')
})

test('what is no interceptor is refused', () => {
  const house = new House()
  const refused = { code: 'GW_INVALID_ARGUMENT', message: expect.stringMatching(/interceptors|sned/) }
  for (const interceptors of [{ send: 7 }, { sned: () => 1 }, [7]]) {
    expect(() => house.client({ interceptors: interceptors as never })).toThrow(expect.objectContaining(refused))
  }
})
