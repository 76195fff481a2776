import { startLocalPostgres } from '../../src/testing/servers/postgres.ts'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'

/** How long it may take to install what a machine lacks. */
export const INSTALL_TIMEOUT_MS = 600_000

/** Makes sure that the servers' programs are on this machine, so that no single test has to wait for their installation. */
export async function bringPrograms(): Promise<void> {
  for (const start of [startLocalRedis, startLocalPostgres]) {
    const server = await start({ fresh: true })
    await server.stop()
  }
}
