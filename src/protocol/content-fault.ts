/** Why `content` cannot be sent, or null if it can. */
export function contentFault(content: unknown): string | null {
  if (typeof content === 'string') return content.trim() === '' ? 'must not be blank' : null
  if (Array.isArray(content)) return content.length === 0 ? 'must not be empty' : null
  return typeof content === 'object' && content !== null ? null : 'must be a text, an array or an object'
}
