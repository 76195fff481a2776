import { errorMessage } from '../errors.ts'
import { commandClass, type GatewayCommand } from './command.ts'
import { headerFromWire, headerToWire, MessageHeader } from './header.ts'
import { isObject, parseJson } from './json.ts'

/** The field of a control or data entry that holds the JSON document; readers look it up by name. */
export const DATA_FIELD = 'data'

/** The field of a control entry that says which of a task's starts it is for; only what was put back has one. */
export const TURN_FIELD = 'turn'

/** The field of a control entry that names the record of its task, so that whoever hands it out can begin it. */
export const TASK_FIELD = 'task'

/** Why an entry of a control stream cannot be processed. */
export type PoisonReason =
  | 'no-data-field'
  | 'too-large'
  | 'bad-json'
  | 'no-envelope'
  | 'bad-header'
  | 'unknown-action'
  | 'bad-body'
  | 'too-many-deliveries'
  | 'record-gone'
  | 'wrong-kind'

export type DecodedCommand =
  | { readonly ok: true; readonly command: GatewayCommand }
  | {
      readonly ok: false
      readonly reason: PoisonReason
      readonly detail: string
      /** The header, where at least that much could be read: somebody may be waiting for this message. */
      readonly header?: MessageHeader
    }

/** One command as JSON: `{ action_type, header, body }`, snake_case, exactly these keys (sister SDKs refuse others). */
export function encodeCommand(command: GatewayCommand): string {
  return JSON.stringify({
    action_type: command.actionType,
    header: headerToWire(command.header),
    body: command.toBody(),
  })
}

/** Reads what stood in the `data` field of a control entry; whatever is wrong with it is a value, never a throw. */
export function decodeCommand(data: string | undefined, maxBytes: number): DecodedCommand {
  if (data === undefined) return poison('no-data-field', `the entry has no field '${DATA_FIELD}'`)
  // A character has at least one byte in UTF-8, so the exact count is only needed near the limit.
  if (data.length * 3 > maxBytes && Buffer.byteLength(data) > maxBytes) {
    const detail = `the envelope has ${Buffer.byteLength(data)} bytes, the limit is ${maxBytes}`
    return poison('too-large', detail, headerAtBeginning(data))
  }
  const json = parseJson(data)
  if (!json.ok) return poison('bad-json', json.reason)
  const envelope = json.value
  if (!isObject(envelope)) return poison('no-envelope', 'the document is no object')
  const header = headerFromWire(envelope.header)
  if (!(header instanceof MessageHeader)) return poison('bad-header', header.fault, header.named)
  const kind = typeof envelope.action_type === 'string' ? commandClass(envelope.action_type) : undefined
  if (kind === undefined) {
    return poison('unknown-action', `action_type ${JSON.stringify(envelope.action_type)} is not known`, header)
  }
  try {
    return { ok: true, command: kind.fromBody(header, isObject(envelope.body) ? envelope.body : {}) }
  } catch (error) {
    return poison('bad-body', errorMessage(error), header)
  }
}

/** So much of what is too large is looked at. */
const BEGINNING = 16_384
const STRING = String.raw`"(?:[^"\\]|\\.)*"`
const HEADER_AT_BEGINNING = new RegExp(String.raw`^\{"action_type":${STRING},"header":(\{(?:${STRING}:${STRING},)+)`)

/** What a document that is not read says of its task, where it begins as {@link encodeCommand} lets it: all up to the metadata. */
function headerAtBeginning(data: string): MessageHeader | undefined {
  const [, members] = HEADER_AT_BEGINNING.exec(data.slice(0, BEGINNING)) ?? []
  const json = members === undefined ? undefined : parseJson(`${members.slice(0, -1)}}`)
  const header = json?.ok ? headerFromWire(json.value) : undefined
  return header instanceof MessageHeader ? header : undefined
}

function poison(reason: PoisonReason, detail: string, header?: MessageHeader): DecodedCommand {
  return { ok: false, reason, detail, ...(header === undefined ? {} : { header }) }
}
