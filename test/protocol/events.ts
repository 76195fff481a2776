import type { EventBody } from '../../src/protocol/event.ts'
import { MessageHeader } from '../../src/protocol/header.ts'

export const header = new MessageHeader({
  ...{ messageId: 'm-1', sessionId: 's-1', traceId: 't-1', parentMessageId: 'p-1' },
  ...{ sourceAgentType: 'caller', targetAgentType: 'elsewhere' },
})

/** One of each sort. */
export const BODIES: readonly EventBody[] = [
  { type: 'chunk', content: 'Hello "world"\n' },
  { type: 'chunk', content: 'hm', role: 'tool' },
  { type: 'state', state: 'thinking' },
  { type: 'state', state: 'thinking', detail: { step: 2 } },
  { type: 'data', data: { any: ['thing', null] } },
  { type: 'data', data: null },
  { type: 'data', data: 0 },
  { type: 'artifact', artifact: { name: 'a.json', url: 'https://x/a.json', mimeType: 'application/json', bytes: 7 } },
  { type: 'artifact', artifact: { name: 'b.txt', content: 'small', metadata: { a: 1 } } },
  { type: 'ask_user', askId: 'ask-1', prompt: 'Which?', schema: { type: 'string' }, options: ['a', 'b'] },
  { type: 'rewind', toId: '1-2' },
  { type: 'error', code: 'GW_TASK_FAILED', message: 'boom', retrying: true },
  { type: 'error', code: 'GW_TASK_FAILED', message: 'boom', retrying: false },
  { type: 'done', status: 'COMPLETED', result: { answer: 42 } },
  { type: 'done', status: 'COMPLETED', result: null },
  { type: 'done', status: 'FAILED', error: { code: 'GW_POISON', message: 'no' } },
  { type: 'done', status: 'CANCELLED' },
  { type: 'done', status: 'EXPIRED' },
]
