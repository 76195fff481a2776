import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { findBinary } from '../../src/testing/servers/find-binary.ts'
import { findFreePort } from '../../src/testing/servers/free-port.ts'
import { type LocalRedis, startLocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { onTestFinished } from '../support/on-test-finished.ts'

async function startRedis(args: readonly string[]): Promise<LocalRedis> {
  const redis = await startLocalRedis({ fresh: true, args })
  onTestFinished(() => redis.stop())
  return redis
}

/**
 * A sentinel that watches a master.
 *
 * @param tls - Lines of its configuration with which it speaks TLS alone, also to the master. Default: it speaks none.
 * @returns Its port.
 */
export async function startSentinel(masterPort: number, tls: readonly string[] = []): Promise<number> {
  const port = await findFreePort()
  const folder = await mkdtemp(join(tmpdir(), 'byclaw-sentinel-'))
  const config = join(folder, 'sentinel.conf')
  const listen = tls.length === 0 ? [`port ${port}`] : ['port 0', `tls-port ${port}`, ...tls]
  const watch = [
    `monitor main 127.0.0.1 ${masterPort} 1`,
    'down-after-milliseconds main 500',
    'failover-timeout main 3000',
  ]
  await writeFile(
    config,
    [...listen, 'bind 127.0.0.1', `dir ${folder}`, ...watch.map((line) => `sentinel ${line}`)].join('\n'),
  )
  const binary = (await findBinary({ names: ['redis-server', 'valkey-server'], env: process.env })) as string
  const child = spawn(binary, [config, '--sentinel'], { stdio: 'ignore' })
  onTestFinished(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null) await once(child, 'exit')
    await rm(folder, { recursive: true, force: true })
  })
  return port
}

/** A master, a replica, and a sentinel that watches them. */
export async function startWatched() {
  // A master lets its first replica wait for others, by default for 5 s.
  const prompt = ['--repl-diskless-sync-delay', '0']
  const master = await startRedis(prompt)
  const replica = await startRedis(['--replicaof', '127.0.0.1', `${master.port}`, ...prompt])
  const port = await startSentinel(master.port)
  const asked = new Redis({ port, disconnectTimeout: 100 })
  asked.on('error', () => undefined)
  onTestFinished(() => asked.disconnect())
  await waitFor(async () => ((await asked.call('SENTINEL', 'REPLICAS', 'main')) as unknown[]).length === 1, {
    timeoutMs: 15_000,
  })
  const copy = new Redis(replica.url, { disconnectTimeout: 100 })
  copy.on('error', () => undefined)
  onTestFinished(() => copy.disconnect())
  await waitFor(async () => (await copy.info('replication')).includes('master_link_status:up'), { timeoutMs: 15_000 })
  return { master, replica, copy, asked, option: { sentinels: [{ host: '127.0.0.1', port }], name: 'main' } }
}
