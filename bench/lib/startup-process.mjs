// A fresh process: how long the import of the package takes, and how long a worker needs until it consumes.

import { serveParent } from './child.mjs'
import { importSdk } from './sdk.mjs'

serveParent({
  start: async ({ port }) => {
    const begin = performance.now()
    const { GatewayWorker, runWorker } = await importSdk()
    const importMs = performance.now() - begin
    class Idle extends GatewayWorker {
      getCapabilities() {
        return ['idle']
      }

      async processCommand() {
        return { ok: 1 }
      }
    }
    const ready = performance.now()
    const worker = await runWorker({ workerClass: Idle, redis: `redis://127.0.0.1:${port}/0` })
    const readyMs = performance.now() - ready
    await worker.stop()
    return { importMs, readyMs }
  },
})
