import type { HistoryContent } from '../agent/history.ts'
import { isObject } from '../protocol/json.ts'

/**
 * What a rich content says in words, for those who read nothing else: the texts of its messages, line by line, or all of
 * it as JSON where there are none.
 */
export function plainText(content: HistoryContent): string {
  if (typeof content === 'string') return content
  const texts = (Array.isArray(content) ? content : [content]).map(textOf).filter((text) => text !== '')
  return texts.length > 0 ? texts.join('\n') : JSON.stringify(content)
}

function textOf(item: unknown): string {
  if (typeof item === 'string') return item
  if (!isObject(item)) return ''
  const { text, content } = item
  if (typeof text === 'string') return text
  if (Array.isArray(content)) return content.map(textOf).filter(Boolean).join('\n')
  return typeof content === 'string' ? content : isObject(content) ? textOf(content) : ''
}
