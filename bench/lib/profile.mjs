import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { Session } from 'node:inspector/promises'
import { decimal, percent, table } from './format.mjs'

const folder = new URL('../out/', import.meta.url)
const TOP = 30

let session

/** Profiles of earlier runs are not this run's. */
export const clearProfiles = async () => {
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
}

export const startProfile = async () => {
  session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.setSamplingInterval', { interval: 200 })
  await session.post('Profiler.start')
}

export const stopProfile = async ({ name }) => {
  const { profile } = await session.post('Profiler.stop')
  session.disconnect()
  await writeFile(new URL(`${name}.cpuprofile`, folder), JSON.stringify(profile))
}

/** From the last `node_modules`, else from our own folder on. */
const shortUrl = (url) => url.replace(/^.*\/node_modules\//, '').replace(/^.*\/(dist|bench)\//, '$1/')

const selfTimes = ({ nodes, samples, timeDeltas }) => {
  const byNode = new Map(nodes.map((node) => [node.id, node.callFrame]))
  const sums = new Map()
  for (const [position, id] of samples.entries()) {
    const { functionName, url, lineNumber } = byNode.get(id)
    const name = `${functionName || '(anonymous)'} ${url ? `${shortUrl(url)}:${lineNumber + 1}` : ''}`.trim()
    sums.set(name, (sums.get(name) ?? 0) + timeDeltas[position])
  }
  return [...sums].sort(([, left], [, right]) => right - left)
}

/** The functions with most time of their own in each profile of bench/out. */
export const describeProfiles = async () => {
  const texts = []
  for (const file of (await readdir(folder)).filter((name) => name.endsWith('.cpuprofile')).sort()) {
    const times = selfTimes(JSON.parse(await readFile(new URL(file, folder), 'utf8')))
    const worked = times.filter(([name]) => name !== '(idle)')
    const busy = worked.reduce((sum, [, micros]) => sum + micros, 0)
    const rows = worked.slice(0, TOP).map(([name, micros]) => [name, decimal(1)(micros / 1000), percent(micros / busy)])
    texts.push(`${file}: self time\n${table(['function', 'ms', 'of busy'], rows)}`)
  }
  return texts.join('\n\n')
}
