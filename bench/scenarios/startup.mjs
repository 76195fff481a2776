import { startChild } from '../lib/child.mjs'
import { decimal, whole } from '../lib/format.mjs'
import { ownRows } from '../lib/row.mjs'
import { ascending, percentile } from '../lib/stats.mjs'

const STARTS = 15

const startOnce = async (port) => {
  const child = startChild('startup-process')
  try {
    return await child.call('start', { port })
  } finally {
    await child.close()
  }
}

const measure = async ({ starts }, { server }) => {
  await server.empty()
  const samples = []
  for (let count = 0; count < starts; count++) samples.push(await startOnce(server.port))
  const of = (key, p) => percentile(ascending(samples.map((sample) => sample[key])), p)
  return {
    ...{ importP50: of('importMs', 50), importBest: of('importMs', 0), importWorst: of('importMs', 100) },
    ...{ readyP50: of('readyMs', 50), readyBest: of('readyMs', 0), readyWorst: of('readyMs', 100) },
    details: { samples },
  }
}

/** What a fresh process waits for before its worker consumes. */
export const scenario = {
  id: 'startup',
  title: 'Start-up: import of the package, and worker ready',
  note:
    'Each start is a fresh Node process. Import is that of the package’s main entry from dist; ready is from `runWorker` to its promise, on a running Redis that ' +
    'has the scripts after the first start. Best, median and worst of the starts.',
  groups: (contenders, { quick }) => {
    const starts = quick ? 5 : STARTS
    const rows = ownRows(contenders, [{ id: 'startup', title: `${whole(starts)} starts`, starts }])
    return [{ id: 'startup', title: 'byclaw-gateway-sdk', rows }]
  },
  measure,
  columns: [
    { key: 'importP50', title: 'import ms', format: decimal(0), range: true },
    { key: 'importBest', title: 'best', format: decimal(0) },
    { key: 'importWorst', title: 'worst', format: decimal(0) },
    { key: 'readyP50', title: 'ready ms', format: decimal(0), range: true },
    { key: 'readyBest', title: 'best', format: decimal(0) },
    { key: 'readyWorst', title: 'worst', format: decimal(0) },
  ],
}
