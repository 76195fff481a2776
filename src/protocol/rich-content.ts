import { invalidArgument } from '../errors.ts'
import { isObject } from './json.ts'

export type RichRole = 'user' | 'assistant' | 'system' | 'tool-call' | 'tool-response' | 'response-to-sub-agent'

export interface RichFile {
  readonly fileId: number
  readonly fileUrl: string
  readonly fileType: 'image' | 'file' | 'video' | 'audio'
  readonly fileName: string
}

export interface RichResource {
  readonly resourceId: string
  readonly resourceName: string
  readonly resourceType: string
  readonly id?: string | undefined
  readonly path?: string | undefined
  readonly resourceDesc?: string | undefined
  readonly resourceMetaData?: unknown
}

/** A message with text, files and resources; what is left out is empty. */
export interface RichMessage {
  readonly role: RichRole
  readonly content:
    | string
    | {
        readonly text?: string | undefined
        readonly files?: readonly RichFile[] | undefined
        readonly resources?: readonly RichResource[] | undefined
      }
}

const ROLES: readonly string[] = ['user', 'assistant', 'system', 'tool-call', 'tool-response', 'response-to-sub-agent']

/**
 * Puts rich messages into their full form: `text`, `files` and `resources` are always there. Items that are no
 * messages (neither role nor content) pass as they are.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` for an unknown role or content of another form, with its path.
 */
export function normalizeRichContent(content: readonly unknown[]): unknown[] {
  return content.map((item, index) => {
    if (!isObject(item) || (item.role === undefined && item.content === undefined)) return item
    const { role, content: said } = item
    if (typeof role !== 'string' || !ROLES.includes(role)) {
      throw invalidArgument(`content.${index}.role`, role, `must be one of ${ROLES.join(', ')}`)
    }
    if (typeof said === 'string') return item
    const where = `content.${index}.content`
    if (!isObject(said)) throw invalidArgument(where, said, 'must be a text or { text, files, resources }')
    const { text = '', files = [], resources = [], ...others } = said
    if (typeof text !== 'string') throw invalidArgument(`${where}.text`, text, 'must be a text')
    if (!Array.isArray(files)) throw invalidArgument(`${where}.files`, files, 'must be an array')
    if (!Array.isArray(resources)) throw invalidArgument(`${where}.resources`, resources, 'must be an array')
    return { ...item, content: { text, files, resources, ...others } }
  })
}
