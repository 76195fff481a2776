import { GatewayError } from '../../errors.ts'
import type { DurableTask } from './durable-task.ts'
import { PATCH } from './entry.ts'

// Printable: ids become part of keys and of what people read.
const ID = /^[^\p{C}\p{Zl}\p{Zp}]{1,128}$/u

/**
 * See `AgentContext.patched`. An earlier run that has recorded something which this one has not asked for yet came by
 * here without the change; where there is no such thing, nobody was here before. What is decided is recorded, and holds
 * for the whole task.
 */
export function patched(task: DurableTask, id: string): Promise<boolean> {
  if (typeof id !== 'string' || !ID.test(id)) {
    const reason = '1 to 128 printable characters are allowed'
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'the id of a patch', value: id, reason })
  }
  let decided = task.patches.get(id)
  if (decided === undefined) {
    decided = decide(task, id)
    decided.catch(() => task.patches.delete(id)) // it may be asked again
    task.patches.set(id, decided)
  }
  return decided
}

async function decide(task: DurableTask, id: string): Promise<boolean> {
  const isNew = !task.journal.hasMore(task.scope.key)
  const op = task.claim(PATCH, id, null, task.root)
  const result =
    op.result === undefined ? await task.results.close(op, isNew) : await task.results.recorded(op.key, op.result)
  return result.value === true
}
