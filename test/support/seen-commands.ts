import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { onTestFinished } from './on-test-finished.ts'

/** A command as a server carries it out. */
export interface SeenCommand {
  /** In lower case. */
  readonly name: string
  /** Bytes that cannot be printed are escaped, as MONITOR says them. */
  readonly args: readonly string[]
  /** The address of the connection, or `lua` for what a script calls. */
  readonly source: string
}

/**
 * What a server carries out from now on, one command after the other, until the test ends; of `only` one kind, if it is
 * given. By hand: ioredis 6.0 takes a command of another connection that comes with the answer to its MONITOR for an
 * answer, and breaks.
 */
export async function seenCommands(url: string, only?: string): Promise<readonly SeenCommand[]> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  onTestFinished(() => socket.destroy())
  const lines = createInterface({ input: socket })
  const seen: SeenCommand[] = []
  const answer = once(lines, 'line')
  socket.write('MONITOR\r\n')
  // Listens before there is an answer: the first commands may come in the same packet.
  lines.on('line', (line: string) => {
    const [, source, words = ''] = /^\+[\d.]+ \[\d+ (\S+)\] (.*)$/.exec(line) ?? []
    const [name = '', ...args] = Array.from(words.matchAll(/"((?:[^"\\]|\\.)*)"/g), ([, word = '']) => word)
    if (source === undefined || (only !== undefined && name.toLowerCase() !== only)) return
    seen.push({ name: name.toLowerCase(), args, source })
  })
  const [said] = await answer
  if (said !== '+OK') throw new Error(`MONITOR was answered by ${said}`)
  return seen
}
