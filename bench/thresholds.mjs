/**
 * What `--quick` refuses. Each one: the group and row of the table, the figure, and its limit. With `times` the limit is one for the
 * figure as a multiple of that of another row of the same run, so that a slow hour hits both sides. Limits without it are only for
 * counts, which no load of the machine changes. All are wide enough for a shared machine, some 1.5 times what was measured;
 * the real budgets are in the design and in the full run.
 */
export const thresholds = [
  { group: 'drain-100', row: 'byclaw/shared', figure: 'rate', times: 'bullmq/keep', atLeast: 0.8 },
  { group: 'drain-100', row: 'byclaw/own', figure: 'rate', times: 'bullmq/keep', atLeast: 0.6 },
  { group: 'drain-100', row: 'byclaw/shared', figure: 'redisCpu', times: 'bullmq/keep', atMost: 0.8 },
  { group: 'drain-100', row: 'byclaw/own', figure: 'redisCpu', times: 'bullmq/keep', atMost: 1.2 },
  { group: 'drain-100', row: 'byclaw/shared', figure: 'workerCpu', times: 'bullmq/keep', atMost: 1.5 },
  { group: 'drain-100', row: 'byclaw/shared', figure: 'commands', atMost: 9 },
  { group: 'drain-100', row: 'byclaw/own', figure: 'commands', atMost: 15 },
  { group: 'drain-100', row: 'byclaw/shared', figure: 'connections', atMost: 4 },
  { group: 'drain-100', row: 'byclaw/shared', figure: 'afterBytes', atMost: 1_300 },
  { group: 'drain-100', row: 'byclaw/own', figure: 'afterBytes', atMost: 1_900 },
  // Short tasks are taken ahead of their slots: with one slot, too, they go in batches.
  { group: 'drain-1', row: 'byclaw/shared', figure: 'rate', times: 'bullmq/keep', atLeast: 1.5 },
  { group: 'drain-1', row: 'byclaw/shared', figure: 'commands', atMost: 12 },
  { group: 'enqueue-100', row: 'byclaw', figure: 'rate', times: 'bullmq', atLeast: 0.7 },
  { group: 'enqueue-100', row: 'byclaw', figure: 'redisCpu', times: 'bullmq', atMost: 1.3 },
  { group: 'enqueue-100', row: 'byclaw', figure: 'clientCpu', times: 'bullmq', atMost: 1.5 },
  { group: 'enqueue-100', row: 'byclaw', figure: 'commands', atMost: 6 },
  { group: 'latency-1', row: 'byclaw', figure: 'p50', times: 'bullmq', atMost: 2.5 },
  { group: 'latency-1', row: 'byclaw', figure: 'commands', atMost: 45 },
  { group: 'chunks-sessions', row: 'byclaw', figure: 'redisCpu', times: 'bare-streams', atMost: 9 },
  { group: 'chunks-sessions', row: 'byclaw', figure: 'commands', atMost: 6.5 },
  { group: 'chunks-long', row: 'byclaw', figure: 'redisCpu', times: 'bare-streams', atMost: 6 },
  { group: 'chunks-long', row: 'byclaw', figure: 'commands', atMost: 1.5 },
]
