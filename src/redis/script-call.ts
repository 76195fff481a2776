import { Cluster, Command, Redis } from 'ioredis'

/** What a command may be given. */
export type RedisValue = string | number | Buffer

/** True where none is given as bytes. */
export function areTexts(args: readonly RedisValue[]): args is readonly (string | number)[] {
  return args.every((arg) => typeof arg !== 'object')
}

/** `\r\n$<n>\r\n` for the first n. */
const MARKS = Array.from({ length: 1_024 }, (_, bytes) => `\r\n$${bytes}\r\n`)

/**
 * The call of a script. ioredis puts a command together by five concatenations for each argument, whose many pieces have
 * to be flattened and encoded when they are written; a batch has a thousand arguments. Here all are joined at once, and
 * leave as bytes where each character is one.
 */
export class ScriptCall extends Command {
  /** False for a client that is not of this ioredis, which may have commands of another kind. */
  static suits(redis: Redis | Cluster): boolean {
    return redis instanceof Redis || redis instanceof Cluster
  }

  constructor(sha: string, keys: readonly string[], args: readonly (string | number)[]) {
    super('evalsha', [], { replyEncoding: 'utf8' })
    // What the constructor is given it copies, and looks through for bytes. No list with `...`, which is a literal: see
    // `deferred`. Numbers become texts as they are written.
    this.args = [sha, String(keys.length)].concat(keys, args as readonly string[])
  }

  override toWritable(): string | Buffer {
    const { name, args } = this
    const parts = new Array<string>(2 * args.length + 2)
    parts[0] = `*${args.length + 1}\r\n$${name.length}\r\n${name}`
    let isAscii = true
    let size = 1
    for (const arg of args) {
      const text = String(arg)
      const bytes = Buffer.byteLength(text)
      isAscii &&= bytes === text.length
      parts[size++] = MARKS[bytes] ?? `\r\n$${bytes}\r\n`
      parts[size++] = text
    }
    parts[size] = '\r\n'
    const text = parts.join('')
    return isAscii ? Buffer.from(text, 'latin1') : text
  }
}
