import { GatewayError } from '../errors.ts'
import { checkId } from '../protocol/ids.ts'
import { checkStatus, type TaskStatus } from '../protocol/status.ts'
import type { TaskInfo, TaskRecords } from '../store/task-records.ts'
import { requireKnown } from '../util/parse-options.ts'

/** Which tasks to list. */
export interface ListTasksOptions {
  /** Only the tasks of this session; without it the key space is walked, which is for operators only. */
  readonly sessionId?: string | undefined
  readonly status?: TaskStatus | undefined
  /**
   * Most tasks, of which the oldest are taken; with neither session nor status those that the walk comes by first, whichever
   * they are. Default 100.
   */
  readonly limit?: number | undefined
}

const KNOWN = { sessionId: true, status: true, limit: true } as const

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option. */
export async function listTasks(records: TaskRecords, options: ListTasksOptions): Promise<TaskInfo[]> {
  requireKnown(options, KNOWN)
  const { sessionId, status, limit = 100 } = options
  if (status !== undefined) checkStatus('status', status)
  if (typeof limit !== 'number' || !(limit >= 0)) {
    const reason = 'must be a number, 0 or more'
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'limit', value: limit, reason })
  }
  const tasks =
    sessionId === undefined
      ? await records.listAll(status === undefined ? limit : Number.MAX_SAFE_INTEGER)
      : await records.listSession(checkId('sessionId', sessionId))
  return tasks.filter((task) => status === undefined || task.status === status).slice(0, limit)
}
