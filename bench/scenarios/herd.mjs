import { whole } from '../lib/format.mjs'
import { rowsOf } from '../lib/row.mjs'
import { drainColumns, measureDrain } from './drain.mjs'

const PROCESSES = 4
const WORKERS = 25

/** Many small workers at one queue. */
export const scenario = {
  id: 'herd',
  title: `Herd: ${PROCESSES * WORKERS} workers of concurrency 1 at one queue`,
  note:
    `${PROCESSES} processes of ${WORKERS} workers each, tasks enqueued first. From the first handler’s start until nothing waits or runs, where Redis is ` +
    'looked at every 10 ms. Worker µs are those of all processes, loop busy is that of the busiest. ' +
    'Nothing is drained before; `start` is how long it takes until all workers are ready, all processes at once.',
  groups: (contenders, { quick }) => {
    const tasks = quick ? 2_000 : 10_000
    const parameters = { tasks, processes: PROCESSES, workers: WORKERS, concurrency: 1, warmTasks: 0 }
    return [
      { id: 'herd', title: `${whole(tasks)} tasks of 200 B`, rows: rowsOf(contenders, 'herd', parameters, { quick }) },
    ]
  },
  measure: measureDrain,
  headline: { key: 'rate', better: 'higher' },
  columns: [...drainColumns, { key: 'startMs', title: 'start ms', format: whole }],
}
