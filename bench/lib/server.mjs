import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { Redis } from 'ioredis'

const freePort = async () => {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}

/** Starts the private Redis of this run: loopback, no persistence. */
export const startServer = async () => {
  const port = await freePort()
  const child = spawn(
    'redis-server',
    ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'].map(String),
    {
      stdio: 'ignore',
    },
  )
  const stopped = once(child, 'exit')
  const redis = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null, retryStrategy: () => 50 })
  redis.on('error', () => undefined) // refused until it listens; the ping below waits for it
  await redis.ping()
  return {
    port,
    redis,
    stop: async () => {
      redis.disconnect()
      child.kill()
      await stopped
    },
  }
}
