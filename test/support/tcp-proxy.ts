import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { findFreePort } from '../../src/testing/servers/free-port.ts'
import { type Flow, ProxiedConnection } from './proxied-connection.ts'

/** Picks connections; without one, all are meant. */
export type Choice = (connection: ProxiedConnection) => boolean

/**
 * A network between clients and one server, with every trouble a network can make, for each connection or for all:
 * it cuts, swallows, delays and refuses, and passes on everything again.
 */
export class TcpProxy {
  readonly port: number
  /** How many connections were made to the proxy so far, refused ones not counted. */
  accepted = 0
  #targetPort: number
  readonly #server: Server
  readonly #connections = new Set<ProxiedConnection>()
  #flow: Flow = { up: 'pass', down: 'pass', delayMs: 0 }

  private constructor(server: Server, port: number, targetPort: number) {
    this.#server = server
    this.port = port
    this.#targetPort = targetPort
    server.on('connection', (client) => {
      this.accepted += 1
      const connection = new ProxiedConnection(client, this.#targetPort, this.#flow)
      this.#connections.add(connection)
      void connection.closed.then(() => this.#connections.delete(connection))
    })
  }

  /** Listens on `port` of 127.0.0.1 (default: a free one) and forwards to `targetPort`. */
  static async start(targetPort: number, port?: number): Promise<TcpProxy> {
    const own = port ?? (await findFreePort())
    const server = createServer({ noDelay: true })
    server.listen(own, '127.0.0.1')
    await once(server, 'listening')
    return new TcpProxy(server, own, targetPort)
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}/0`
  }

  /** The connections that a client has open now. */
  connections(choice: Choice = () => true): ProxiedConnection[] {
    return [...this.#connections].filter(choice)
  }

  /** Ends connections with a reset, as a crashed machine or a firewall does. */
  cut(choice?: Choice): number {
    const chosen = this.connections(choice)
    for (const connection of chosen) connection.cut()
    return chosen.length
  }

  /**
   * Keeps connections open and swallows what they carry, for ever: bytes that were swallowed do not come back when the
   * network does. Without a choice new connections fall into the hole, too, until {@link pass}.
   */
  blackHole(choice?: Choice, direction: 'up' | 'down' | 'both' = 'both'): number {
    const hole: Partial<Flow> = {
      ...(direction === 'down' ? {} : { up: 'hole' }),
      ...(direction === 'up' ? {} : { down: 'hole' }),
    }
    if (choice === undefined) this.#flow = { ...this.#flow, ...hole }
    const chosen = this.connections(choice)
    for (const connection of chosen) connection.change(hole)
    return chosen.length
  }

  /** Hands on what connections carry only after `delayMs`, in order. Without a choice also for new connections. */
  delay(delayMs: number, choice?: Choice): void {
    if (choice === undefined) this.#flow = { ...this.#flow, delayMs }
    for (const connection of this.connections(choice)) connection.change({ delayMs })
  }

  /** Takes no more than so many bytes a second from a client, on all connections. */
  throttle(upRate: number): void {
    this.#flow = { ...this.#flow, upRate }
    for (const connection of this.connections()) connection.change({ upRate })
  }

  /** Lets new connections pass without trouble; those that are in a hole stay there, since bytes of theirs are gone. */
  pass(): void {
    this.#flow = { up: 'pass', down: 'pass', delayMs: 0 }
  }

  /** Leads new connections to another server; those that are there stay where they are. */
  leadTo(targetPort: number): void {
    this.#targetPort = targetPort
  }

  /** Refuses new connections, as a machine does on which nobody listens, until {@link listen}. */
  refuse(): void {
    if (this.#server.listening) this.#server.close()
  }

  /** Takes new connections again. */
  async listen(): Promise<void> {
    if (this.#server.listening) return
    this.#server.listen(this.port, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  /** Ends the proxy and all its connections. */
  async stop(): Promise<void> {
    this.refuse()
    const open = this.connections()
    for (const connection of open) connection.destroy()
    await Promise.all(open.map(({ closed }) => closed))
  }
}
