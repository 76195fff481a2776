import type { GatewayClient } from '../../src/client/client.ts'
import type { SessionEvent } from '../../src/protocol/event.ts'
import type { RedisOption } from '../../src/redis/options.ts'
import type { LocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { sleep } from '../../src/util/sleep.ts'
import type { RunningWorker } from '../../src/worker/worker-runtime.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { Gate, House, isPulse, type WorkOptions } from '../worker/harness.ts'

const SESSION = 's'
const LOAD_EVERY_MS = 20

export interface WardOptions {
  /** Further arguments for the server. */
  readonly args?: readonly string[]
  readonly work?: WorkOptions
  /** Where worker and client find Redis; default through the proxy. */
  readonly redis?: RedisOption
  /** The server and how it is looked at; default one of its own. */
  readonly house?: House & { readonly server: LocalRedis }
}

/**
 * A patient on whom troubles are tried: a Redis of its own behind a proxy, a worker with a held task, a client with an
 * open subscription and load. What was accepted, started and seen is kept, to be compared with what Redis holds.
 */
export class Ward {
  readonly house: House & { readonly server: LocalRedis }
  readonly proxy: TcpProxy
  readonly client: GatewayClient
  /** How often each task was started. */
  readonly starts = new Map<string, number>()
  /** Codes with which signals were aborted, by task. */
  readonly aborts = new Map<string, unknown>()
  readonly accepted: string[] = []
  /** What sends were refused with. */
  readonly refusals: unknown[] = []
  readonly seen: SessionEvent[] = []
  /** Why the subscription ended, if it did. */
  following: unknown = 'still open'
  readonly gate = new Gate()
  readonly #redis: RedisOption
  #load: AbortController | undefined

  private constructor(house: House & { readonly server: LocalRedis }, proxy: TcpProxy, redis: RedisOption) {
    this.house = house
    this.proxy = proxy
    this.#redis = redis
    this.client = house.client({ redis })
    onTestFinished(() => this.gate.open())
  }

  static async open({ args = [], work = {}, redis, ...given }: WardOptions = {}): Promise<Ward> {
    const house = given.house ?? (await House.private(['--enable-debug-command', 'yes', ...args]))
    const proxy = await TcpProxy.start(house.server.port)
    onTestFinished(() => proxy.stop())
    const ward = new Ward(house, proxy, redis ?? proxy.url)
    await ward.work(work)
    // The connection of the worker's thread is the last of all.
    const isWhole = () => redis !== undefined || proxy.connections(isPulse).length === 1
    await waitFor(isWhole, { timeoutMs: 15_000, message: 'the first sign of life of the thread' })
    const events = ward.client.subscribe(SESSION, { after: '0' })
    await events.opened()
    void ward.#follow(events)
    return ward
  }

  get server(): LocalRedis {
    return this.house.server
  }

  /** Starts a worker, the first of which is there from the beginning. */
  work(options: WorkOptions = {}): Promise<RunningWorker> {
    return this.house.work(
      async (command, context) => {
        const { messageId } = context
        this.starts.set(messageId, (this.starts.get(messageId) ?? 0) + 1)
        context.signal.addEventListener('abort', () => {
          this.aborts.set(messageId, (context.signal.reason as { code?: string }).code)
        })
        await context.emitChunk('one ')
        if (command.content === 'held') await this.gate.pass()
        await context.emitChunk('two')
        return command.content
      },
      { redis: this.#redis, ...options },
    )
  }

  /** Sends a task that runs until the gate is opened, and waits until it runs. */
  async hold(messageId = 'held'): Promise<void> {
    const { arrived } = this.gate
    await this.client.sendMessage({ targetAgentType: 'agent', sessionId: SESSION, messageId, content: 'held' })
    this.accepted.push(messageId)
    await this.gate.reached(arrived + 1)
  }

  /** Sends a task every 20 ms until {@link stopLoad}. */
  startLoad(): void {
    this.#load = new AbortController()
    void this.#sendOn(this.#load.signal)
  }

  stopLoad(): void {
    this.#load?.abort()
  }

  /** How long it takes from `since` until a task that is sent now has come to its end, in ms. */
  async backAtWork(since = performance.now()): Promise<number> {
    for (;;) {
      const messageId = `back-${Math.random()}`
      try {
        await this.client.ask({
          ...{ targetAgentType: 'agent', sessionId: SESSION, messageId, content: 'quick', timeoutMs: 15_000 },
        })
        this.accepted.push(messageId)
        return performance.now() - since
      } catch (error) {
        this.refusals.push(error)
        await sleep(20)
      }
    }
  }

  result(messageId = 'held') {
    return this.client.result({ sessionId: SESSION, messageId })
  }

  /** Every accepted task has one end, the reader saw what the stream holds, and nothing is left on the way. */
  async settled(timeoutMs = 10_000): Promise<void> {
    await waitFor(async () => (await this.#fault()) === undefined, {
      ...{ timeoutMs, intervalMs: 50, message: () => this.#lastFault ?? 'the ward to settle' },
    })
  }

  #lastFault: string | undefined

  async #fault(): Promise<string | undefined> {
    this.#lastFault = await this.#look()
    return this.#lastFault
  }

  async #look(): Promise<string | undefined> {
    const entries = await this.house.redis.xrange(this.house.keys.data(SESSION), '-', '+')
    const events = entries.map(([id, fields]) => ({
      id,
      ...(JSON.parse(fields[1] as string) as { event_type: string; message_id: string }),
    }))
    for (const messageId of this.accepted) {
      const dones = events.filter((event) => event.event_type === 'done' && event.message_id === messageId).length
      if (dones !== 1) return `${messageId} has ${dones} ends`
    }
    const [ids, seen] = [events.map(({ id }) => id), this.seen.map(({ id }) => id)]
    if (ids.join() !== seen.join()) return `the stream holds ${ids.length} events, the reader saw ${seen.length}`
    if (this.following !== 'still open') return `the subscription ended: ${this.following}`
    const [waiting, pending] = [await this.house.waiting(), await this.house.pending()]
    return waiting + pending === 0 ? undefined : `${waiting} entries wait, ${pending} are pending`
  }

  /** Warnings and errors by message and connection, with how often each was logged. */
  logged(): Record<string, number> {
    const counts: Record<string, number> = {}
    for (const { level, message, fields } of this.house.logger.lines) {
      if (message.startsWith('appendonly is off')) continue
      if (level === 'debug' || (level === 'info' && !/^Redis/.test(message))) continue
      const key = [message, fields['connection']].filter((part) => part !== undefined).join(': ')
      counts[key] = (counts[key] ?? 0) + 1
    }
    return counts
  }

  /** How many commands and connections reach the server in an idle second. */
  async idleSecond(): Promise<{ commands: number; connections: number }> {
    const numbers = async () => {
      const info = await this.house.redis.info()
      const number = (name: string) => Number(new RegExp(`${name}:(\\d+)`).exec(info)?.[1])
      return { commands: number('total_commands_processed'), connections: number('total_connections_received') }
    }
    const before = await numbers()
    await sleep(1_000)
    const after = await numbers()
    return { commands: after.commands - before.commands, connections: after.connections - before.connections }
  }

  async #follow(events: AsyncIterable<SessionEvent>): Promise<void> {
    try {
      for await (const event of events) this.seen.push(event)
      this.following = 'closed'
    } catch (error) {
      this.following = error
    }
  }

  async #sendOn(signal: AbortSignal): Promise<void> {
    for (let number = 0; !signal.aborted; number += 1) {
      const messageId = `load-${number}`
      try {
        await this.client.sendMessage({ targetAgentType: 'agent', sessionId: SESSION, messageId, content: 'quick' })
        this.accepted.push(messageId)
      } catch (error) {
        this.refusals.push(error)
      }
      await sleep(LOAD_EVERY_MS, signal)
    }
  }
}

/** What the log may hold of connections that were lost once and came back once. */
export const LOST_ONCE = ['prompt', 'subscriber', 'patient', 'pulse', 'blocking'].flatMap((connection) => [
  `Redis connection lost: ${connection}`,
  `Redis connection is back: ${connection}`,
])
