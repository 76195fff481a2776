import { GatewayError } from '../errors.ts'

/** A server's address. */
export interface ServerNode {
  readonly host: string
  readonly port: number
}

/** The values that a text of a flag or a variable can stand for, by kind. */
export interface TextValues {
  readonly text: string
  readonly number: number
  readonly port: number
  readonly switch: boolean
  readonly nodes: ServerNode[]
  readonly list: string[]
}

/** How the text of a flag or a variable becomes a value. */
export type TextKind = keyof TextValues

/**
 * Reads the text of a flag or a variable.
 *
 * @param field - Its name, for the error.
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the field and the value.
 */
export function readText(kind: TextKind, text: string, field: string): TextValues[TextKind] {
  const invalid = (reason: string) => new GatewayError('GW_INVALID_ARGUMENT', { field, value: text, reason })
  if (text.trim() === '') throw invalid('must not be blank')
  switch (kind) {
    case 'text':
      return text
    case 'port': // Kubernetes gives tcp://10.0.0.1:6379 as REDIS_PORT to every pod beside a service named redis
      return readText('number', /^tcp:\/\/.*:(\d+)$/.exec(text)?.[1] ?? text, field)
    case 'number':
      if (!/^-?\d+(\.\d+)?$/.test(text)) throw invalid('must be a number')
      return Number(text)
    case 'switch':
      if (/^(true|1|yes|on)$/i.test(text)) return true
      if (/^(false|0|no|off)$/i.test(text)) return false
      throw invalid('must be true or false')
    case 'list':
      return readList(text) ?? fail(invalid('must name something between its commas'))
    case 'nodes':
      return text.split(',').map((address) => readNode(address.trim()) ?? fail(invalid('must be host:port,host:port')))
  }
}

/** The items of a list, or undefined if it has none; a comma too many means nothing. */
function readList(text: string): string[] | undefined {
  const items = text.split(',').flatMap((item) => item.trim() || [])
  return items.length > 0 ? items : undefined
}

function readNode(address: string): ServerNode | undefined {
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(address) ?? []
  return host === undefined ? undefined : { host: host.replace(/^\[|\]$/g, ''), port: Number(port) }
}

function fail(error: Error): never {
  throw error
}
