import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { RedisConnections } from '../../src/redis/connections.ts'
import { resolveRedis } from '../../src/redis/environment.ts'
import { memoryLogger } from '../worker/harness.ts'
import { startTls } from './tls.ts'

// A file of its own: an error that nobody hears ends the run of whatever file it comes in.
test('who closes while TLS is being negotiated hears nothing of it', async () => {
  const { port, ca } = await startTls()
  const unheard: unknown[] = []
  const listeners = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException').on('uncaughtException', (error) => unheard.push(error))
  try {
    for (let round = 0; round < 100; round++) {
      const tls = round % 2 === 0 ? { ca } : true
      const connections = new RedisConnections(resolveRedis({ host: '127.0.0.1', port, tls }), memoryLogger())
      const answers = [connections.client('prompt').call('PING'), connections.subscriber().subscribe('x')]
      await pause(round / 5)
      connections.close()
      await Promise.allSettled(answers)
    }
    await pause(200)
  } finally {
    process.removeAllListeners('uncaughtException')
    for (const listener of listeners) process.on('uncaughtException', listener)
  }
  expect(unheard).toEqual([])
})
