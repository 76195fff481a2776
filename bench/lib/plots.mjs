import { mkdir, writeFile } from 'node:fs/promises'
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'

const folder = new URL('../plots/', import.meta.url)
const WIDTH = 900
const LEFT = 270
const RIGHT = 110
const ROW_HEIGHT = 24
const PANEL_GAP = 44
const STYLE = { background: 'white', font: '12px system-ui, sans-serif' }

/** Every contender keeps its colour in all plots. */
const COLOURS = {
  'byclaw-gateway-sdk': '#2563eb',
  BullMQ: '#dc2626',
  'bare Streams loop': '#9ca3af',
  groupmq: '#d97706',
  'bee-queue': '#65a30d',
  'pg-boss': '#7c3aed',
}
const contenderOf = (title) => Object.keys(COLOURS).find((name) => title.startsWith(name)) ?? title
const color = { domain: Object.keys(COLOURS), range: Object.values(COLOURS) }

const threeDigits = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 3 })
const withUnits = new Intl.NumberFormat('en-US', { notation: 'compact' })

/** The points of one panel: a figure of each row that is not void. */
const panel = (title, { summaries }, key) =>
  summaries
    .filter(({ figures, voided }) => voided.length === 0 && figures[key] !== undefined)
    .map((row) => ({ panel: title, row: row.title, ...row.figures[key] }))

const distinct = (points, name) => [...new Set(points.map((point) => point[name]))]

/** Panels one below the other, a bar for each row: the median, with the range of the rounds as a line. */
const bars = (label, points) => {
  if (points.length === 0) return undefined
  const [panels, rows] = [distinct(points, 'panel'), distinct(points, 'row')]
  const places = { y: 'row', fy: 'panel' }
  return {
    marginLeft: LEFT,
    marginRight: RIGHT,
    marginTop: PANEL_GAP,
    height: 2 * PANEL_GAP + panels.length * (rows.length * ROW_HEIGHT + PANEL_GAP),
    x: { label, labelAnchor: 'center', grid: true, nice: true, tickFormat: (value) => withUnits.format(value) },
    y: { label: null, domain: rows, tickSize: 0 },
    fy: { axis: null, domain: panels, padding: 0.16 },
    color,
    marks: [
      Plot.barX(points, { ...places, x: 'median', fill: ({ row }) => contenderOf(row), insetTop: 2, insetBottom: 2 }),
      Plot.ruleY(points, { ...places, x1: 'min', x2: 'max', strokeWidth: 1.5 }),
      Plot.text(points, {
        ...places,
        x: 'max',
        text: ({ median }) => threeDigits.format(median),
        textAnchor: 'start',
        dx: 6,
      }),
      Plot.text(panels, {
        fy: (title) => title,
        text: (title) => title,
        frameAnchor: 'top-left',
        dy: -14,
        fontWeight: 'bold',
      }),
      Plot.ruleX([0]),
    ],
  }
}

/** How fast the chunks of one long answer come, from its beginning to its end, in the first round of each row. */
const flatness = (groups) => {
  const points = groups.flatMap(({ samples, summaries }) =>
    samples.flatMap(({ samples: [first] }, at) =>
      (first?.details?.rates ?? []).map((rate, slice, rates) => ({
        row: summaries[at].title,
        chunks: ((slice + 1) / rates.length) * first.details.tasks,
        rate,
      })),
    ),
  )
  if (points.length === 0) return undefined
  return {
    height: 340,
    marginLeft: 60,
    marginRight: 150,
    x: { label: 'chunks so far', labelAnchor: 'center', tickFormat: (value) => withUnits.format(value) },
    y: { label: 'chunks per second', grid: true, zero: true, tickFormat: (value) => withUnits.format(value) },
    color,
    marks: [
      Plot.lineY(points, { x: 'chunks', y: 'rate', stroke: ({ row }) => contenderOf(row), z: 'row', strokeWidth: 1.5 }),
      Plot.text(points, Plot.selectLast({ x: 'chunks', y: 'rate', z: 'row', text: 'row', textAnchor: 'start', dx: 6 })),
      Plot.ruleY([0]),
    ],
  }
}

const everyGroup = (groups, key) => groups.flatMap((group) => panel(group.title, group, key))

const PLOTS = [
  {
    name: 'drain',
    title: 'Drain: tasks per second',
    make: (of) => bars('tasks per second', everyGroup(of('drain'), 'rate')),
  },
  {
    name: 'cpu',
    title: 'CPU time per task of the drain at concurrency 100',
    make: (of) => {
      const group = of('drain').find(({ id }) => id === 'drain-100')
      if (group === undefined) return undefined
      return bars('µs per task', [
        ...panel('server', group, 'redisCpu'),
        ...panel('worker process', group, 'workerCpu'),
      ])
    },
  },
  {
    name: 'enqueue',
    title: 'Enqueue: sends per second',
    make: (of) => bars('sends per second', everyGroup(of('enqueue'), 'rate')),
  },
  {
    name: 'latency',
    title: 'Idle latency: send → first chunk, p50',
    make: (of) => bars('ms', everyGroup(of('latency'), 'p50')),
  },
  {
    name: 'chunks',
    title: 'Chunks from the handlers to their readers',
    make: (of) => bars('chunks per second', everyGroup(of('chunks'), 'rate')),
  },
  {
    name: 'chunks-long',
    title: 'One long answer, from its first chunk to its last',
    make: (of) => flatness(of('chunks').filter(({ id }) => id === 'chunks-long')),
  },
]

const svgOf = (options) => {
  const { document } = parseHTML('<html><body></body></html>')
  const svg = Plot.plot({ ...options, width: WIDTH, style: STYLE, document })
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return svg.outerHTML
}

/** Draws the plots that these results (`asData`) allow into bench/plots; returns them as Markdown, for bench/README.md. */
export const writePlots = async ({ groups }) => {
  const of = (id) => groups.filter(({ scenario }) => scenario === id)
  await mkdir(folder, { recursive: true })
  const links = []
  for (const { name, title, make } of PLOTS) {
    const options = make(of)
    if (options === undefined) continue
    await writeFile(new URL(`${name}.svg`, folder), `${svgOf(options)}\n`)
    links.push(`![${title}](plots/${name}.svg)`)
  }
  return links
}
