import { digest } from './args.ts'
import type { DurableTask } from './durable-task.ts'
import { operationKey } from './entry.ts'

/** See `AgentContext.now`. */
export async function now(task: DurableTask): Promise<number> {
  const op = task.claim('now', '', null)
  const result =
    op.result === undefined ? await task.results.close(op, Date.now()) : await task.results.recorded(op.key, op.result)
  return Number(result.value)
}

/** Bytes that are the same whenever the handler asks for them at the same place, also after the task was redriven. */
function bytes(task: DurableTask, kind: string): Buffer {
  const { scope, place, ref } = task
  const key = operationKey(place, kind, '', scope.next(kind, ''))
  return Buffer.from(digest(ref.sessionId, ref.messageId, key), 'hex')
}

/** See `AgentContext.random`. */
export function random(task: DurableTask): number {
  return bytes(task, 'random').readUIntBE(0, 6) / 2 ** 48
}

/** See `AgentContext.uuid`. */
export function uuid(task: DurableTask): string {
  const id = bytes(task, 'uuid')
  // Version 8 (its own rule) and the variant of RFC 9562.
  id[6] = ((id[6] as number) & 0x0f) | 0x80
  id[8] = ((id[8] as number) & 0x3f) | 0x80
  const hex = id.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-')
}
