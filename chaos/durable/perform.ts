import { setTimeout as sleep } from 'node:timers/promises'
import { AgentCallError, type AgentContext, type AgentReply, GatewayError, TerminalError } from 'byclaw-gateway-sdk'
import { CAPABILITY, type DurableWork } from '../work.ts'
import { type Act, faultOf, type Marks, toChunks } from './program.ts'

/** What is told of an acknowledged chunk. */
export type OnSaid = (text: string) => void

/** What a called task is given besides its work: who calls it, and where. */
export interface Caller {
  readonly parent: string
  readonly path: string
}

/** Carries out the acts of a durable task and answers the marks it has made. */
export async function performActs(work: DurableWork, context: AgentContext, onSaid: OnSaid): Promise<Marks> {
  const run = new Run(context, onSaid)
  for (const [index, act] of work.acts.entries()) await run.act(act, String(index))
  return run.marks
}

class Run {
  readonly marks: Record<string, string> = {}
  readonly #context: AgentContext
  readonly #onSaid: OnSaid

  constructor(context: AgentContext, onSaid: OnSaid) {
    this.#context = context
    this.#onSaid = onSaid
  }

  async act(act: Act, path: string): Promise<void> {
    const context = this.#context
    switch (act.do) {
      case 'say':
        return this.#sayAll(act, path)
      case 'call':
        return this.#mark(path, await this.#call(act.work, path, act.timeoutMs))
      case 'all':
        return this.#markEach(path, await Promise.all(act.works.map((each, n) => this.#call(each, `${path}.${n}`))))
      case 'race':
        return this.#race(act.works, path, act.waitsForAll)
      case 'group':
        return this.#group(act.works, path, act.failFast)
      case 'send': {
        await context.callAgent({ ...this.#request(act.work, path), waitForReply: false })
        return
      }
      case 'ask':
        return this.#mark(path, await this.#ask(path, act.timeoutMs))
      case 'step':
        return this.#mark(path, await this.#step(act, path))
      case 'sleep':
        return context.sleep(act.ms)
      case 'values':
        return this.#mark(path, `${await context.now()}:${context.random()}:${context.uuid()}`)
      case 'trip':
        if (context.attempt <= act.times) throw new Error('not this time')
        return
      case 'fail':
        throw new TerminalError('this is final')
    }
  }

  async #step(act: Act & { readonly do: 'step' }, path: string): Promise<string> {
    try {
      return await this.#context.step(`s${path}`, async () => {
        await this.#sayAll(act, path)
        if (act.throws) throw new RangeError(String(Math.random()))
        return String(Math.random())
      })
    } catch (error) {
      if (error instanceof Error && error.name === 'RangeError') return error.message
      throw error
    }
  }

  async #sayAll({ count, pauseMs }: { readonly count: number; readonly pauseMs: number }, path: string): Promise<void> {
    const { messageId, signal } = this.#context
    if (pauseMs === 0) {
      await Promise.all(Array.from({ length: count }, (_, n) => this.#say(`${messageId}/${path}.${n};`)))
      return
    }
    for (let n = 0; n < count; n += 1) {
      await this.#say(`${messageId}/${path}.${n};`)
      await sleep(pauseMs, undefined, { signal })
    }
  }

  async #say(text: string): Promise<void> {
    await this.#context.emitChunk(text)
    this.#onSaid(text)
  }

  async #mark(path: string, mark: string): Promise<void> {
    this.marks[path] = mark
    await this.#say(`${this.#context.messageId}/${path}=${mark};`)
  }

  async #markEach(path: string, marks: readonly string[]): Promise<void> {
    for (const [n, mark] of marks.entries()) await this.#mark(`${path}.${n}`, mark)
  }

  #request(work: DurableWork, path: string) {
    const caller: Caller = { parent: this.#context.messageId, path }
    return { targetAgentType: CAPABILITY, content: JSON.stringify({ ...work, caller }) }
  }

  /** What came of a call: `ok`, how it ended otherwise, or what is wrong with its answer. */
  async #call(work: DurableWork, path: string, timeoutMs?: number): Promise<string> {
    const options = timeoutMs === undefined ? {} : { timeoutMs }
    try {
      return check(work, await this.#context.callAgent({ ...this.#request(work, path), ...options }))
    } catch (error) {
      if (error instanceof AgentCallError) return error.status
      throw error
    }
  }

  async #race(works: readonly DurableWork[], path: string, waitsForAll: boolean): Promise<void> {
    const calls = works.map((work, n) => this.#call(work, `${path}.${n}`))
    for (const call of calls) call.catch(() => undefined) // the race may be over by then
    await this.#mark(path, await Promise.race(calls.map((call, n) => call.then(() => String(n)))))
    if (waitsForAll) await this.#markEach(path, await Promise.all(calls))
  }

  async #group(works: readonly DurableWork[], path: string, failFast: boolean): Promise<void> {
    const requests = works.map((work, n) => this.#request(work, `${path}.${n}`))
    const replies = await this.#context.dispatchGroup(requests, { failFast })
    const marks = replies.map((reply, n) =>
      reply.status === 'COMPLETED' ? check(works[n] as DurableWork, reply) : reply.status,
    )
    await this.#markEach(path, marks)
  }

  async #ask(path: string, timeoutMs?: number): Promise<string> {
    const prompt = `${this.#context.messageId}/${path}`
    try {
      const answer = await this.#context.askUser({ prompt, ...(timeoutMs === undefined ? {} : { timeoutMs }) })
      return answer === prompt ? 'ok' : `wrong answer ${JSON.stringify(answer)}`
    } catch (error) {
      if (error instanceof GatewayError && error.code === 'GW_TIMEOUT') return 'TIMEOUT'
      throw error
    }
  }
}

/** The text of an answer must be all that the called task has said, and its data must be the result of that very work. */
function check(work: DurableWork, { content, data, messageId }: AgentReply): string {
  const { marks } = (data ?? {}) as { readonly marks?: Marks }
  const fault = faultOf(messageId, work, toChunks(content), true, marks ?? {})
  return fault === null ? 'ok' : `wrong answer: ${fault}`
}
