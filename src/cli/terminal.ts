import { styleText } from 'node:util'
import type { Environment } from '../redis/variables.ts'

/** A format of Node's `styleText`. */
export type Format = Parameters<typeof styleText>[0]

/** Colours a text, or does not. */
export type Paint = (format: Format, text: string) => string

/** Colours are for people: on a terminal, and unless NO_COLOR says otherwise. */
export function hasColours(stream: NodeJS.WriteStream, env: Environment): boolean {
  return stream.isTTY === true && !env.NO_COLOR
}

export function painter(stream: NodeJS.WriteStream, env: Environment): Paint {
  return hasColours(stream, env)
    ? (format, text) => styleText(format, text, { validateStream: false })
    : (_, text) => text
}
