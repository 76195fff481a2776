import { lossInJson } from './json.ts'

const NEITHER = 'must be a text, an array or an object'

/** Why `content` cannot be sent, or null if it can. */
export function contentFault(content: unknown): string | null {
  if (typeof content === 'string') return content.trim() === '' ? 'must not be blank' : null
  if (Array.isArray(content)) return content.length === 0 ? 'must not be empty' : null
  if (typeof content !== 'object' || content === null) return NEITHER
  const becomes = 'toJSON' in content && typeof content.toJSON === 'function'
  return becomes || isBoxed(content) ? fateFault(content) : lossInJson(content)
}

/** True for what becomes a bare value in JSON, as `new String('')` does. */
function isBoxed(content: object): boolean {
  return content instanceof String || content instanceof Number || content instanceof Boolean
}

/** An object that says itself what becomes of it may become what cannot be sent: a `Date` of no time is null. */
function fateFault(content: object): string | null {
  let json: string | undefined
  try {
    json = JSON.stringify(content)
  } catch {
    // Whoever encodes it says why it cannot be.
    return null
  }
  return json === undefined ? NEITHER : contentFault(JSON.parse(json))
}
