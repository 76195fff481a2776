import { type Command, Redis, ReplyError } from 'ioredis'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import { LUA } from '../../src/redis/lua.generated.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { House } from '../worker/harness.ts'

const { sendCommand } = Redis.prototype
afterEach(() => {
  Redis.prototype.sendCommand = sendCommand
})

const scripts = new Map<string, string>(Object.entries(LUA).map(([name, { sha }]) => [sha, name]))
const nameOf = ({ name, args }: Command) => scripts.get(String(args[0])) ?? name.toUpperCase()

/** What answers in place of the server, for a command that was carried out or for one that was not. */
const FAULTS = [
  {
    how: 'refused, not carried out',
    isDone: false,
    error: (name: string) => new ReplyError(`ERR something nobody expected of ${name}`),
  },
  {
    how: 'carried out, and the answer is an error',
    isDone: true,
    error: (name: string) => new ReplyError(`ERR done, and yet an error of ${name}`),
  },
] as const

/**
 * Lets each operation that connections to this port send fail once.
 *
 * @returns The names of those that have.
 */
function failEachOnce(port: number, { isDone, error }: (typeof FAULTS)[number]): ReadonlySet<string> {
  const failed = new Set<string>()
  Redis.prototype.sendCommand = function (this: Redis, command: Command, ...rest: unknown[]) {
    const name = nameOf(command)
    // Of the handshake's errors ioredis makes lost connections, which other tests are about.
    if (this.options.port !== port || this.status !== 'ready' || failed.has(name))
      return Reflect.apply(sendCommand, this, [command, ...rest])
    failed.add(name)
    // By the command itself: what waited for its connection has nobody who looks at what is returned here.
    const fail = () => command.reject(error(name))
    if (isDone) command.resolve = fail
    else {
      fail()
      return command.promise
    }
    return Reflect.apply(sendCommand, this, [command, ...rest])
  }
  return failed
}

test.each(FAULTS)(
  'every operation of a worker fails once ($how): it lives, and every task has one end',
  {
    timeout: 120_000,
  },
  async (fault) => {
    const house = new House()
    const proxy = await TcpProxy.start(Number(new URL(house.url).port))
    onTestFinished(() => proxy.stop())
    await house.work(
      async (command, context) => {
        await context.emitChunk('said')
        if (command.content === 'step') return context.step('once', () => 'stepped')
        if (command.content === 'bad' && context.attempt < 2) throw new Error('bad')
        if (command.content === 'parent')
          return (await context.callAgent({ targetAgentType: 'agent', content: 'step' })).data
        return command.content
      },
      {
        redis: proxy.url,
        leaseMs: 1_000,
        maxDeliveries: 50,
        retry: { maxAttempts: 20, backoff: { type: 'fixed', delayMs: 20 } },
      },
    )
    const client = house.client()
    const contents = ['plain', 'step', 'bad', 'parent'] as const
    const sendAll = (round: string) =>
      contents.map(async (content) => {
        const ref = { sessionId: 's', messageId: `${round}-${content}` }
        await client.sendMessage({
          ...ref,
          targetAgentType: 'agent',
          content,
          delayMs: content === 'plain' ? 50 : undefined,
        })
        return ref
      })
    const failed = failEachOnce(proxy.port, fault)
    const refs = []
    for (let round = 0; round < 5; round += 1) {
      const sent = await Promise.all(sendAll(`m-${round}`))
      refs.push(...sent)
      for (const ref of sent)
        expect(await client.result({ ...ref, timeoutMs: 60_000 })).toMatchObject({ status: 'COMPLETED' })
    }
    for (const name of [
      'begin',
      'say',
      'conclude',
      'settle',
      'agendaTake',
      'enqueue',
      'journalOpen',
      'XREADGROUP',
      'XREAD',
    ])
      expect([...failed], `${name} has failed once`).toContain(name)
    await house.settled()
    for (const { sessionId, messageId } of refs) expect(await house.dones(sessionId, messageId)).toHaveLength(1)
    // It lives: the next task is done as if nothing had been.
    expect(await client.ask({ targetAgentType: 'agent', sessionId: 's', content: 'plain' })).toMatchObject({
      data: 'plain',
    })
    await waitFor(async () => (await house.pending()) === 0)
  },
)
