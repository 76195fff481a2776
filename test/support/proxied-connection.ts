import { connect, type Socket } from 'node:net'

/** What becomes of the bytes: `up` to the server, `down` to the client. */
export interface Flow {
  readonly up: 'pass' | 'hole'
  readonly down: 'pass' | 'hole'
  readonly delayMs: number
  /** Bytes a second to the server; default as many as there are. */
  readonly upRate?: number
}

/** News that has not come yet. */
interface Late {
  readonly at: number
  readonly act: () => void
}

/** What a connection to Redis is used for, as far as its commands have told. */
export type ConnectionUse = 'blocking' | 'subscriber' | 'commands' | 'unknown'

/** The start of a command on the wire: its name, and the digest if it is a script. */
const COMMAND = /\*\d+\r\n\$\d+\r\n([A-Za-z]+)\r\n(?:\$40\r\n([0-9a-f]{40})\r\n)?/g
/** What a client says when it has connected tells nothing of what the connection is for. */
const HANDSHAKE = new Set(['AUTH', 'CLIENT', 'HELLO', 'INFO', 'PING', 'SELECT'])

/** One client's connection through a {@link TcpProxy}: two sockets and what happens between them. */
export class ProxiedConnection {
  /** How often each command was sent; scripts as `EVALSHA <digest>`. */
  readonly commands = new Map<string, number>()
  /** Resolves when both sides are closed. */
  readonly closed: Promise<void>
  readonly #client: Socket
  readonly #server: Socket
  readonly #late: Record<'up' | 'down', Late[]> = { up: [], down: [] }
  #flow: Flow
  #blocks = false

  constructor(client: Socket, targetPort: number, flow: Flow) {
    this.#client = client
    this.#flow = flow
    this.#server = connect({ port: targetPort, host: '127.0.0.1', noDelay: true })
    this.closed = Promise.all([whenClosed(client), whenClosed(this.#server)]).then(() => undefined)
    client.on('data', (data: Buffer) => this.#up(data))
    this.#server.on('data', (data: Buffer) => this.#forward('down', this.#server, client, data))
    // A side that goes takes the other one with it, unless the news falls into the hole.
    client.on('close', () => this.#carry('up', () => this.#server.destroy()))
    this.#server.on('close', () => this.#carry('down', () => client.destroy()))
  }

  /** What the connection is used for. */
  get use(): ConnectionUse {
    if (this.#blocks) return 'blocking'
    const names = [...this.commands.keys()].filter((name) => !HANDSHAKE.has(name))
    if (names.some((name) => /^S?SUBSCRIBE$/.test(name))) return 'subscriber'
    return names.length > 0 ? 'commands' : 'unknown'
  }

  get isInHole(): boolean {
    return this.#flow.up === 'hole' || this.#flow.down === 'hole'
  }

  /** True if the connection has carried this script. */
  hasRun(sha: string): boolean {
    return this.commands.has(`EVALSHA ${sha}`)
  }

  change(flow: Partial<Flow>): void {
    this.#flow = { ...this.#flow, ...flow }
  }

  /**
   * Ends both sides with a reset. One that is being ended is just closed: a reset at that moment fails with EINVAL, and Node
   * 20 leaves the socket open for ever. So is one that is being connected, whose reset would wait for that.
   */
  cut(): void {
    for (const socket of [this.#client, this.#server]) {
      if (socket.connecting || (socket.writableEnded && !socket.writableFinished)) socket.destroy()
      else socket.resetAndDestroy()
    }
  }

  /** Ends both sides at once. */
  destroy(): void {
    this.#client.destroy()
    this.#server.destroy()
  }

  #up(data: Buffer): void {
    this.#look(data.toString('latin1'))
    this.#forward('up', this.#client, this.#server, data)
  }

  #look(text: string): void {
    for (const [, name = '', sha] of text.matchAll(COMMAND)) {
      const command = sha === undefined ? name.toUpperCase() : `${name.toUpperCase()} ${sha}`
      this.commands.set(command, (this.commands.get(command) ?? 0) + 1)
    }
    this.#blocks ||= /\r\nBLOCK\r\n/i.test(text)
  }

  #forward(direction: 'up' | 'down', from: Socket, to: Socket, data: Buffer): void {
    this.#carry(direction, () => {
      const { upRate } = this.#flow
      if (direction === 'up' && upRate !== undefined) {
        from.pause()
        setTimeout(() => from.resume(), (data.length / upRate) * 1_000)
      }
      if (to.destroyed || to.write(data)) return
      from.pause()
      to.once('drain', () => from.resume())
    })
  }

  /** Does now or later what the network does with a piece of news, or never; never before what came first. */
  #carry(direction: 'up' | 'down', act: () => void): void {
    if (this.#flow[direction] === 'hole') return
    const late = this.#late[direction]
    if (this.#flow.delayMs === 0 && late.length === 0) {
      act()
      return
    }
    late.push({ at: performance.now() + this.#flow.delayMs, act })
    if (late.length === 1) this.#handOn(late)
  }

  #handOn(late: Late[]): void {
    const [next] = late
    if (next === undefined) return
    setTimeout(() => {
      for (let first = late[0]; first !== undefined && first.at <= performance.now(); first = late[0]) {
        first.act()
        late.shift()
      }
      this.#handOn(late)
    }, next.at - performance.now())
  }
}

function whenClosed(socket: Socket): Promise<void> {
  // A reset is news like any other here: `close` follows.
  socket.on('error', () => undefined)
  return new Promise((resolve) => socket.once('close', () => resolve()))
}
