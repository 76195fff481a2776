import { Redis } from 'ioredis'
import type { AgentContext } from '../../src/agent/context.ts'
import type { AgentContract } from '../../src/agent/contract.ts'
import type { Tools } from '../../src/agent/tool.ts'
import { GatewayWorker } from '../../src/agent/worker.ts'
import { GatewayClient } from '../../src/client/client.ts'
import type { GatewayClientOptions } from '../../src/client/options.ts'
import type { Logger } from '../../src/logger.ts'
import type { AskAgentCommand, GatewayCommand } from '../../src/protocol/command.ts'
import type { SessionEvent } from '../../src/protocol/event.ts'
import { Keys } from '../../src/redis/keys.ts'
import { LUA } from '../../src/redis/lua.generated.ts'
import { type LocalRedis, startLocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { type Deferred, deferred } from '../../src/util/deferred.ts'
import type { RunWorkerOptions } from '../../src/worker/options.ts'
import { runWorker } from '../../src/worker/run-worker.ts'
import type { RunningWorker } from '../../src/worker/worker-runtime.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import type { ProxiedConnection } from '../support/proxied-connection.ts'
import { freshPrefix, testRedisUrl } from '../support/redis.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'

/** One line that was logged. */
export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly fields: Record<string, unknown>
  readonly message: string
}

/** A logger that keeps what it is told. */
export function memoryLogger(lines: LogLine[] = [], bindings: object = {}): Logger & { readonly lines: LogLine[] } {
  const log = (level: LogLine['level']) => (fields: object, message?: string) => {
    lines.push({ level, fields: { ...bindings, ...fields }, message: message ?? '' })
  }
  return {
    ...{ lines, debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    child: (more) => memoryLogger(lines, { ...bindings, ...more }),
  }
}

type Handler = (command: AskAgentCommand, context: AgentContext) => unknown

/** A worker from a function. */
export class FunctionWorker extends GatewayWorker {
  readonly #capabilities: readonly (string | AgentContract)[]
  readonly #handle: Handler
  readonly #tools: Tools

  constructor(capabilities: readonly (string | AgentContract)[], handle: Handler, tools: Tools = {}) {
    super()
    this.#capabilities = capabilities
    this.#handle = handle
    this.#tools = tools
  }

  override getCapabilities() {
    return this.#capabilities
  }

  override getTools() {
    return this.#tools
  }

  override async processCommand(command: GatewayCommand, context: AgentContext): Promise<unknown> {
    return this.#handle(command as AskAgentCommand, context)
  }
}

/** What {@link House.work} takes besides the options of a worker. */
export type WorkOptions = Omit<RunWorkerOptions, 'worker' | 'workerClass' | 'redis'> & {
  readonly capabilities?: readonly (string | AgentContract)[]
  readonly tools?: Tools
  readonly redis?: RunWorkerOptions['redis']
}

/**
 * Workers, clients and a bare connection on one Redis under one prefix; all of it ends with the test. Made inside a
 * test.
 */
export class House {
  readonly url: string
  readonly prefix: string
  readonly keys: Keys
  /** A bare connection, for looking and for writing as others do. */
  readonly redis: Redis
  readonly logger = memoryLogger()

  constructor(url = testRedisUrl(), prefix = freshPrefix()) {
    this.url = url
    this.prefix = prefix
    this.keys = new Keys(prefix)
    this.redis = new Redis(url, { protocol: 2, disconnectTimeout: 100 })
    this.redis.on('error', () => undefined)
    onTestFinished(() => this.redis.disconnect())
  }

  /** A house on a Redis of its own, which does not let a first replica wait for others, as it does by default for 5 s. */
  static async private(args: readonly string[] = []): Promise<House & { readonly server: LocalRedis }> {
    const server = await startLocalRedis({ fresh: true, args: ['--repl-diskless-sync-delay', '0', ...args] })
    onTestFinished(() => server.stop())
    return Object.assign(new House(server.url, 'queue'), { server })
  }

  /** Starts a worker; the capability is `agent` unless said otherwise, and a failed task is not retried. */
  async work(
    handle: Handler,
    { capabilities = ['agent'], tools, ...options }: WorkOptions = {},
  ): Promise<RunningWorker> {
    const worker = await runWorker({
      ...{
        redis: this.url,
        keyPrefix: this.prefix,
        logger: this.logger,
        shutdownTimeoutMs: 0,
        retry: { maxAttempts: 1 },
      },
      worker: new FunctionWorker(capabilities, handle, tools),
      ...options,
    })
    onTestFinished(() => worker.stop())
    return worker
  }

  client(options: GatewayClientOptions = {}): GatewayClient {
    const client = new GatewayClient({ redis: this.url, keyPrefix: this.prefix, logger: this.logger, ...options })
    onTestFinished(() => client.close())
    return client
  }

  /** Entries in a capability's control stream. */
  waiting(capability = 'agent'): Promise<number> {
    return this.redis.xlen(this.keys.control(capability))
  }

  /** Entries that are pending in its group. */
  async pending(capability = 'agent', group = 'agent_engines'): Promise<number> {
    const [count] = (await this.redis.xpending(this.keys.control(capability), group)) as [number]
    return count
  }

  /** Resolves when the control streams hold nothing any more, neither waiting nor pending. */
  async settled(...capabilities: string[]): Promise<void> {
    for (const capability of capabilities.length === 0 ? ['agent'] : capabilities) {
      await waitFor(async () => (await this.waiting(capability)) + (await this.pending(capability)) === 0, {
        message: `'${capability}' to be settled`,
      })
    }
  }

  /** The events of a session as they stand in its stream. */
  async events(sessionId: string): Promise<(Record<string, unknown> & { event_type: string; message_id: string })[]> {
    const entries = await this.redis.xrange(this.keys.data(sessionId), '-', '+')
    return entries.map(([, fields]) => JSON.parse(fields[fields.indexOf('data') + 1] as string))
  }

  /** The `done` events of a task. */
  async dones(sessionId: string, messageId: string): Promise<Record<string, unknown>[]> {
    const events = await this.events(sessionId)
    return events.filter((event) => event.event_type === 'done' && event.message_id === messageId)
  }

  /** Puts an entry on a control stream as another program does. */
  add(fields: Record<string, string | Buffer>, capability = 'agent'): Promise<string | null> {
    return this.redis.xadd(this.keys.control(capability), '*', ...Object.entries(fields).flat())
  }
}

/** An envelope with the three required keys of a header only. */
export function envelope(
  messageId: string,
  sessionId: string,
  body: unknown = { content: 'hi' },
  action = 'ASK_AGENT',
): string {
  const header = { message_id: messageId, session_id: sessionId, trace_id: 'trace' }
  return JSON.stringify({ action_type: action, header, body })
}

/** A gate: `arrived` counts who has come to it, `open` lets all through, now and later. */
export class Gate {
  arrived = 0
  most = 0
  #inside = 0
  readonly #opened: Deferred<void> = deferred()

  async pass(): Promise<void> {
    this.arrived += 1
    this.#inside += 1
    this.most = Math.max(this.most, this.#inside)
    await this.#opened.promise
    this.#inside -= 1
  }

  open(): void {
    this.#opened.resolve()
  }

  /** Resolves when `count` have come. */
  async reached(count: number): Promise<void> {
    await waitFor(() => this.arrived >= count, { message: () => `${count} at the gate, there are ${this.arrived}` })
  }
}

/** All events of an iteration. */
export async function collect(events: AsyncIterable<SessionEvent>): Promise<SessionEvent[]> {
  const all: SessionEvent[] = []
  for await (const event of events) all.push(event)
  return all
}

/** What a reader holds for the task's answer in the end: chunks, less what it was told to forget. */
export function foldText(events: readonly SessionEvent[]): string {
  let said: SessionEvent[] = []
  for (const event of events) {
    if (event.type === 'rewind') said = event.toId === '0-0' ? [] : said.filter(({ id }) => isUpTo(id, event.toId))
    else said.push(event)
  }
  return said.map((event) => (event.type === 'chunk' ? event.content : '')).join('')
}

function isUpTo(id: string, limit: string): boolean {
  const [ms = 0, seq = 0] = id.split('-').map(Number)
  const [limitMs = 0, limitSeq = 0] = limit.split('-').map(Number)
  return ms < limitMs || (ms === limitMs && seq <= limitSeq)
}

/** Everything that is noted on the agenda. */
export async function agendaOf({ redis, keys }: House): Promise<string[]> {
  const shards = [0, 1, 2, 3].map((shard) => keys.agenda(shard))
  const due = await Promise.all(shards.map(({ due }) => redis.zrange(due, '0', '-1')))
  const payloads = await Promise.all(shards.map(({ payloads }) => redis.hkeys(payloads)))
  return [...new Set([...due.flat(), ...payloads.flat()])]
}

/** The connection of a worker's thread, which loads when the worker works already, once that has given a sign of life. */
export function isPulse(connection: ProxiedConnection): boolean {
  // Until it is loaded, signs of life go over the connection with all else.
  return connection.hasRun(LUA.beat.sha) && !connection.hasRun(LUA.claimWorker.sha)
}

/** A way for one worker to the Redis of a house, on which it is seen what its thread does. */
export async function watchedWay(
  house: House,
): Promise<{ readonly url: string; readonly isPulsing: () => Promise<unknown> }> {
  const proxy = await TcpProxy.start(Number(new URL(house.url).port))
  onTestFinished(() => proxy.stop())
  const isPulsing = () =>
    waitFor(() => proxy.connections(isPulse).length === 1, {
      timeoutMs: 15_000,
      message: 'the thread to give a sign of life',
    })
  return { url: proxy.url, isPulsing }
}
