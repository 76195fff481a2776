import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { getDefaultEnvironment, StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { CallToolResult, Tool as McpTool } from '@modelcontextprotocol/sdk/types.js'
import type { Logger } from 'byclaw-gateway-sdk'
import type { ResolvedServer } from './options.ts'

const RETRY_FIRST_MS = 100
const RETRY_MOST_MS = 5_000
/** A server that stops itself need not answer a goodbye. */
const GOODBYE_MS = 2_000

/** A session that the server knows, until it is closed. */
interface Session {
  readonly client: Client
  readonly end: () => Promise<void>
  isOpen: boolean
  /** By `performance.now()`. */
  openedAt: number
}

/**
 * A connection to one server that comes again when it breaks.
 *
 * States: `idle` → `connecting` → `open`; `open` → `connecting` when the server goes away, with longer and longer pauses
 * while it stays away; from all of them → `closed`, for good.
 */
export class McpConnection {
  readonly name: string
  readonly #server: ResolvedServer
  readonly #logger: Logger
  readonly #closing = new AbortController()
  #session: Promise<Session> | undefined
  /** How long the next try to come back waits. */
  #waitMs = RETRY_FIRST_MS

  constructor(name: string, server: ResolvedServer, logger: Logger) {
    this.name = name
    this.#server = server
    this.#logger = logger
  }

  /**
   * All tools of the server, within the time that a connection may take.
   *
   * @throws Error that names the server.
   */
  async listTools(): Promise<McpTool[]> {
    const { connectTimeoutMs: timeout } = this.#server
    const late = new AbortController()
    const timedOut = new Error(`MCP server '${this.name}' did not tell its tools within ${timeout} ms`)
    const timer = setTimeout(() => late.abort(timedOut), timeout)
    const { signal } = late
    try {
      return await this.#ask('the list of tools', signal, (client) => allTools(client, { signal, timeout }))
    } finally {
      clearTimeout(timer)
    }
  }

  /** @throws Error that names the server and the tool, or the signal's reason. */
  async call(tool: string, args: Record<string, unknown>, signal: AbortSignal): Promise<CallToolResult> {
    const { timeoutMs } = this.#server
    const options = { signal, timeout: timeoutMs, maxTotalTimeout: timeoutMs }
    const ask = (client: Client) => client.callTool({ name: tool, arguments: args }, undefined, options)
    return (await this.#ask(`tool '${tool}'`, signal, ask)) as CallToolResult
  }

  /** Ends the connection, and the server if it is a process of ours. */
  async close(): Promise<void> {
    this.#closing.abort(new Error(`MCP server '${this.name}' is not in use any more`))
    const session = await this.#session?.catch(() => undefined) // why it did not come about was told
    await session?.end()
  }

  /**
   * Asks the server something. What surely has not reached it is asked again over a new connection; what was on its way when
   * the connection broke is not, since it may have been carried out.
   */
  async #ask<Answer>(what: string, signal: AbortSignal, ask: (client: Client) => Promise<Answer>): Promise<Answer> {
    for (let attempt = 1; ; attempt += 1) {
      signal.throwIfAborted()
      const session = await this.#openBefore(signal)
      try {
        return await ask(session.client)
      } catch (error) {
        signal.throwIfAborted()
        if (wasNotDelivered(error) && attempt === 1) {
          await this.#abandon(session)
          continue
        }
        throw new Error(`${what} of MCP server '${this.name}': ${reasonOf(error)}`, { cause: error })
      }
    }
  }

  #open(): Promise<Session> {
    this.#closing.signal.throwIfAborted()
    this.#session ??= this.#connect()
    return this.#session
  }

  /** The session, unless the signal comes first, or the time for it is up. */
  async #openBefore(signal: AbortSignal): Promise<Session> {
    const { connectTimeoutMs } = this.#server
    const late = AbortSignal.timeout(connectTimeoutMs)
    const either = AbortSignal.any([signal, late, this.#closing.signal])
    const { promise: stopped, stop } = rejectedBy(either)
    try {
      return await Promise.race([this.#open(), stopped])
    } catch (error) {
      signal.throwIfAborted()
      const reason = late.aborted ? `no connection within ${connectTimeoutMs} ms` : reasonOf(error)
      throw new Error(`MCP server '${this.name}' cannot be reached: ${reason}`, { cause: error })
    } finally {
      stop()
    }
  }

  async #connect(): Promise<Session> {
    const { connectTimeoutMs } = this.#server
    const { transport, end } = this.#transport()
    const client = new Client({ name: 'byclaw-plugin-mcp', version: '0.1.0' })
    const session: Session = {
      client,
      isOpen: false,
      openedAt: 0,
      end: async () => end().finally(() => client.close()),
    }
    client.onerror = (error) => this.#logger.debug({ server: this.name, reason: reasonOf(error) }, 'MCP: an error')
    client.onclose = () => this.#lost(session)
    try {
      await client.connect(transport, { timeout: connectTimeoutMs, signal: this.#closing.signal })
      session.isOpen = true
      session.openedAt = performance.now()
      return session
    } catch (error) {
      this.#session = undefined
      await client.close()
      throw error
    }
  }

  #transport() {
    const server = this.#server
    if ('url' in server) {
      const transport = new StreamableHTTPClientTransport(new URL(server.url), {
        requestInit: { headers: server.headers },
      })
      return { transport, end: () => this.#endRemote(transport) }
    }
    const { command, args, cwd } = server
    const env = { ...getDefaultEnvironment(), ...server.env }
    const transport = new StdioClientTransport({
      command,
      args,
      env,
      stderr: 'pipe',
      ...(cwd === undefined ? {} : { cwd }),
    })
    transport.stderr?.on('data', (text) => {
      this.#logger.debug({ server: this.name, text: String(text).trimEnd() }, 'MCP: the server says')
    })
    return { transport, end: () => Promise.resolve() }
  }

  async #endRemote(transport: StreamableHTTPClientTransport): Promise<void> {
    const { promise: late, stop } = rejectedBy(AbortSignal.timeout(GOODBYE_MS))
    try {
      await Promise.race([transport.terminateSession(), late])
    } catch (error) {
      this.#logger.debug({ server: this.name, reason: reasonOf(error) }, 'MCP: the session was not ended; it expires')
    } finally {
      stop()
    }
  }

  /** The server's process ended, or its connection did, and not by our wish. */
  #lost(session: Session): void {
    if (!session.isOpen || this.#closing.signal.aborted) return
    session.isOpen = false
    this.#session = undefined
    // One that never stays long has not come back.
    if (performance.now() - session.openedAt > RETRY_MOST_MS) this.#waitMs = RETRY_FIRST_MS
    this.#logger.warn({ server: this.name }, 'MCP: the server went away, connecting again')
    void this.#comeBack()
  }

  async #comeBack(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      const waitMs = this.#waitMs
      this.#waitMs = Math.min(waitMs * 2, RETRY_MOST_MS)
      await pause(waitMs, signal)
      if (signal.aborted) return
      try {
        await this.#open()
        this.#logger.info({ server: this.name }, 'MCP: connected again')
        return
      } catch (error) {
        this.#logger.debug({ server: this.name, reason: reasonOf(error) }, 'MCP: not connected, trying again')
      }
    }
  }

  /** Lets go of a session that the server does not know any more. */
  async #abandon(session: Session): Promise<void> {
    if (!session.isOpen) return
    session.isOpen = false
    this.#session = undefined
    await session.client.close()
  }
}

async function allTools(client: Client, options: { signal: AbortSignal; timeout: number }): Promise<McpTool[]> {
  const tools: McpTool[] = []
  let cursor: string | undefined
  do {
    const page = await client.listTools(cursor === undefined ? {} : { cursor }, options)
    tools.push(...page.tools)
    cursor = page.nextCursor
  } while (cursor !== undefined)
  return tools
}

/** Refused before anything was done: the server was not there, or had forgotten the session. */
function wasNotDelivered(error: unknown): boolean {
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } }
  if (cause?.code === 'ECONNREFUSED') return true
  return code === 404 || (code === 400 && /session/i.test(reasonOf(error)))
}

/** An error's own words, and those of what caused it, as `fetch failed` says nothing by itself. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause instanceof Error ? `: ${error.cause.message || error.cause.name}` : ''
  return `${error.message}${error.message.includes(cause) ? '' : cause}`
}

function rejectedBy(signal: AbortSignal): { readonly promise: Promise<never>; stop(): void } {
  let onAbort: () => void = () => undefined
  const promise = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
  })
  promise.catch(() => undefined) // it may come before anybody waits for it; who does is told all the same
  return { promise, stop: () => signal.removeEventListener('abort', onAbort) }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done, { once: true })
  })
}
