import { readdir, readFile } from 'node:fs/promises'
import pg from 'pg'
import { importSdk } from './sdk.mjs'

const MICROS_PER_TICK = 10_000
/** As a Redis without persistence: nothing waits for the disk. Memory enough that nothing is read back from it either. */
const ARGS = ['shared_buffers=512MB', 'max_wal_size=4GB', 'wal_compression=off'].flatMap((value) => ['-c', value])

const statOf = async (pid) => {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined // ended between the look at the folder and this one
  }
}

/** CPU time of the server: its first process with all that have ended, and each of its children. Undefined where the system does not tell. */
const cpuMicrosOf = async (server) => {
  if (process.platform !== 'linux') return undefined
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  let ticks = 0
  for (const fields of await Promise.all(pids.map(statOf))) {
    if (fields?.[1] === String(server.pid)) ticks += Number(fields[11]) + Number(fields[12])
  }
  const own = await statOf(server.pid)
  return (ticks + own.slice(11, 15).reduce((sum, part) => sum + Number(part), 0)) * MICROS_PER_TICK
}

/** A private Postgres of this run with the face of `server.mjs`; its `redisCpu` is that of all its processes. */
export const startPostgresServer = async () => {
  const { startLocalPostgres } = await importSdk('/testing')
  const server = await startLocalPostgres({ fresh: true, args: ARGS })
  const client = new pg.Client({ connectionString: server.url })
  await client.connect()
  const one = async (sql) => Number((await client.query(sql)).rows[0].value)
  const size = () => one('SELECT pg_database_size(current_database()) AS value')
  return {
    port: server.port,
    emptyBytes: await size(),
    client,
    empty: () => client.query('DROP SCHEMA IF EXISTS pgboss CASCADE'),
    memory: async () => ({ bytes: await size() }),
    startMeter: async () => {
      const before = await cpuMicrosOf(server)
      return async () => ({ cpuMicros: (await cpuMicrosOf(server)) - before })
    },
    cpuMicros: async () => (await cpuMicrosOf(server)) ?? 0,
    connections: () =>
      one(
        "SELECT count(*) AS value FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
      ),
    describe: async () => `Postgres ${(await client.query('SHOW server_version')).rows[0].server_version}`,
    stop: async () => {
      await client.end()
      await server.stop()
    },
  }
}
