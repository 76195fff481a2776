/**
 * What `--quick` refuses, wide enough for a shared machine; the real budgets are in the design and in the full run.
 * Each one: the group and row of the table, the figure (`ratio` is the one beside BullMQ's best variant), and its limit.
 * `orTimesFloor` lets a figure pass which is no worse than so many times the bare Streams loop's of the same run.
 */
export const thresholds = [
  { group: 'drain-100', row: 'byclaw/shared', figure: 'ratio', atLeast: 1.3 },
  { group: 'drain-100', row: 'byclaw/own', figure: 'ratio', atLeast: 1.1 },
  { group: 'drain-100', row: 'byclaw/shared', figure: 'redisCpu', atMost: 30 },
  { group: 'enqueue-100', row: 'byclaw', figure: 'ratio', atLeast: 1.1 },
  { group: 'latency-1', row: 'byclaw', figure: 'p50', atMost: 0.7, orTimesFloor: 3 },
  { group: 'latency-20', row: 'byclaw', figure: 'p50', atMost: 0.7, orTimesFloor: 3 },
  { group: 'growth', row: 'byclaw/own', figure: 'redisGrowth', atMost: 100 },
  { group: 'growth', row: 'byclaw/own', figure: 'heapGrowth', atMost: 300 },
]
