// Whether a plugin may be reloaded for ever: `node --expose-gc bench/plugin-reloads.mjs [reloads]`, after `npm run build`.
// While tasks run all the time, the plugin's file is written again and again, each time with a megabyte of its own. Prints
// the heap after a collection, and fails when a task did, or had another version than one that was in place meanwhile.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GatewayClient, GatewayWorker, runWorker } from '../dist/index.js'
import { startLocalRedis } from '../dist/testing/index.js'

const COUNT = Number(process.argv[2] ?? 1_000)
const IN_FLIGHT = 20
const WARM_UP = 20
const REPORTS = 10
const MOST_MB = 20

class Agent extends GatewayWorker {
  getCapabilities() {
    return ['agent']
  }

  async processCommand(_, context) {
    const before = await context.callTool('version', {})
    await new Promise((resolve) => setTimeout(resolve, 5))
    return [before, await context.callTool('version', {})]
  }
}

const sourceOf = (version) => `
  import { definePlugin, tool } from 'byclaw-gateway-sdk'
  import { z } from 'zod'
  const ballast: string[] = Array.from({ length: 20_000 }, (_, i) => 'ballast ' + i + ' of ${version}')
  export default definePlugin({
    manifest: { pluginId: 'version', version: '${version}.0.0' },
    registerAgentConfigs() {
      const execute = async () => (ballast.length === 20_000 ? ${version} : -1)
      return [{ agentId: 'agent', tools: { version: tool({ description: '', input: z.object({}), execute }) } }]
    },
    onTaskStart() {},
    onEvent() {},
  })`

const heap = () => {
  globalThis.gc()
  globalThis.gc()
  const { heapUsed, rss } = process.memoryUsage()
  return { heap: heapUsed / 1e6, rss: rss / 1e6 }
}

const folder = await mkdtemp(join(tmpdir(), 'byclaw-reloads-'))
const file = join(folder, 'version.ts')
await writeFile(file, sourceOf(0))
const server = await startLocalRedis({ fresh: true, args: ['--appendonly', 'yes'] })
const logged = []
const note = (level) => (fields, message) => logged.push({ level, message, ...fields })
const silent = () => undefined
const logger = { debug: silent, info: silent, warn: note('warn'), error: note('error'), child: () => logger }
const worker = await runWorker({ workerClass: Agent, redis: server.url, pluginDir: folder, logger, maxConcurrency: 50 })
const client = new GatewayClient({ redis: server.url, logger })

let [current, wanted, tasks, running] = [0, 0, 0, true]
const wrong = []

async function ask(lane) {
  while (running) {
    const from = current
    const result = await client.ask({ targetAgentType: 'agent', sessionId: `s-${lane}-${tasks}`, content: 'go' })
    tasks += 1
    const [before, after] = result.data ?? []
    const isRight = result.status === 'COMPLETED' && before === after && before >= from && before <= wanted
    if (!isRight) wrong.push({ from, wanted, ...result })
  }
}

const lanes = Array.from({ length: IN_FLIGHT }, (_, lane) => ask(lane))
const startedAt = performance.now()
let start = heap()
for (let version = 1; version <= COUNT + WARM_UP; version += 1) {
  wanted = version
  await writeFile(file, sourceOf(version))
  const isThere = () => worker.plugins.list()[0].version.startsWith(`${version}.`)
  while (!isThere() && logged.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  if (logged.length > 0) break
  current = version
  if (version === WARM_UP) start = heap()
  if (version > WARM_UP && (version - WARM_UP) % Math.ceil(COUNT / REPORTS) === 0) {
    const now = heap()
    console.log(
      `${version - WARM_UP} reloads: heap ${now.heap.toFixed(1)} MB, RSS ${now.rss.toFixed(0)} MB, ${tasks} tasks`,
    )
  }
}
running = false
await Promise.all(lanes)
const seconds = (performance.now() - startedAt) / 1_000
const end = heap()
await client.close()
await worker.stop()
await server.stop()
await rm(folder, { recursive: true })

const growth = end.heap - start.heap
console.log(
  `${COUNT} reloads in ${seconds.toFixed(0)} s, ${tasks} tasks, ${wrong.length} of them wrong, ${logged.length} complaints`,
)
console.log(
  `heap ${start.heap.toFixed(1)} MB → ${end.heap.toFixed(1)} MB, RSS ${start.rss.toFixed(0)} → ${end.rss.toFixed(0)} MB`,
)
if (wrong.length > 0) console.log(wrong.slice(0, 3))
if (logged.length > 0) console.log(logged.slice(0, 3))
process.exitCode = wrong.length > 0 || logged.length > 0 || growth > MOST_MB ? 1 : 0
