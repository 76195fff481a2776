import { Redis } from 'ioredis'
import { startChild } from '../lib/child.mjs'
import { decimal, percent, whole } from '../lib/format.mjs'
import { rowsOf } from '../lib/row.mjs'
import { ascending, percentile } from '../lib/stats.mjs'
import { measureDrain } from './drain.mjs'
import { measureEnqueue } from './enqueue.mjs'

const DELAY_MS = 1
const PINGS = 200

const cases = (quick) => [
  {
    id: 'delay-drain',
    title: 'drain, concurrency 100',
    work: measureDrain,
    concurrency: 100,
    tasks: quick ? 5_000 : 20_000,
  },
  {
    id: 'delay-enqueue',
    title: 'enqueue, 100 in flight',
    work: measureEnqueue,
    inFlight: 100,
    tasks: quick ? 5_000 : 20_000,
  },
]

/** What the proxy makes of a round trip: the median of PINGs one after the other. */
const roundTrip = async (port) => {
  const redis = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null })
  const samples = []
  for (let count = 0; count < PINGS; count++) {
    const begin = performance.now()
    await redis.ping()
    samples.push(performance.now() - begin)
  }
  redis.disconnect()
  return percentile(ascending(samples), 50)
}

const measure = async (row, environment) => {
  const { server } = environment
  const proxy = startChild('delay-process')
  try {
    const port = await proxy.call('start', { targetPort: server.port })
    const direct = await row.work(row, environment)
    const proxied = await row.work(row, { ...environment, port })
    await proxy.call('delay', { ms: DELAY_MS })
    const pingMs = await roundTrip(port)
    const delayed = await row.work(row, { ...environment, port })
    const [lost, repeated] = ['lost', 'repeated'].map((key) => direct[key] + proxied[key] + delayed[key])
    return {
      direct: direct.rate,
      proxied: proxied.rate,
      rate: delayed.rate,
      share: delayed.rate / direct.rate,
      proxiedShare: delayed.rate / proxied.rate,
      pingMs,
      redisCpu: delayed.redisCpu,
      commands: delayed.commands,
      lost,
      repeated,
      void: direct.void ?? proxied.void ?? delayed.void,
    }
  } finally {
    await proxy.close()
  }
}

/** What a network between the processes and Redis leaves of the throughput. */
export const scenario = {
  id: 'delay',
  title: `Delay: ${DELAY_MS} ms of network each way`,
  note:
    'The same work on loopback, through a proxy that hands on at once, and through the proxy with the delay in each direction, one after the other. The proxy is a ' +
    'process of Node and takes its share of the cores, which the second figure shows; so the share is given beside the loopback and beside the bare proxy. ' +
    'The round trip is the median of PINGs through the delaying proxy.',
  groups: (contenders, { quick }) =>
    cases(quick).map(({ id, title, ...parameters }) => ({
      id,
      title: `${title}, ${whole(parameters.tasks)} tasks of 200 B`,
      rows: rowsOf(contenders, 'delay', parameters, { quick }),
    })),
  measure,
  headline: { key: 'rate', better: 'higher' },
  columns: [
    { key: 'rate', title: 'tasks/s with delay', format: whole, range: true },
    { key: 'direct', title: 'on loopback', format: whole },
    { key: 'proxied', title: 'by the bare proxy', format: whole },
    { key: 'share', title: 'of loopback', format: percent },
    { key: 'proxiedShare', title: 'of bare proxy', format: percent },
    { key: 'pingMs', title: 'round trip ms', format: decimal(2) },
    { key: 'redisCpu', title: 'Redis µs/task', format: decimal(1) },
    { key: 'commands', title: 'commands/task', format: decimal(2) },
    { key: 'lost', title: 'lost', format: whole },
    { key: 'repeated', title: 'repeated', format: whole },
  ],
}
