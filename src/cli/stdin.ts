import { text } from 'node:stream/consumers'

/** All of stdin as a text. The line break at its end is not part of it: `echo` writes one, and so do editors. */
export async function readStdin(): Promise<string> {
  return (await text(process.stdin)).replace(/\r?\n$/, '')
}
