import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findBinary } from '../../src/testing/servers/find-binary.ts'
import { findFreePort } from '../../src/testing/servers/free-port.ts'
import { waitFor } from '../../src/testing/wait-for.ts'

/** The program, if this machine has it; no test installs it. */
export const PGBOUNCER = await findBinary({
  names: ['pgbouncer'],
  env: process.env,
  folders: ['/usr/sbin', '/usr/local/sbin'],
})

export interface PgBouncer {
  readonly url: string
  stop(): Promise<void>
}

/**
 * A PgBouncer in transaction mode before a Postgres that trusts everybody; it hands out its three connections in turn, so
 * that what somebody leaves on one soon is with somebody else.
 */
export async function startPgBouncer(postgresUrl: string): Promise<PgBouncer> {
  if (PGBOUNCER === undefined) throw new Error('there is no pgbouncer here')
  const folder = await mkdtemp(join(tmpdir(), 'byclaw-pgbouncer-'))
  const port = await findFreePort()
  const { hostname, port: behind } = new URL(postgresUrl)
  const [config, users] = [join(folder, 'pgbouncer.ini'), join(folder, 'users.txt')]
  await writeFile(users, '"postgres" ""\n')
  const lines = [
    ...['[databases]', `* = host=${hostname} port=${behind}`],
    ...['[pgbouncer]', 'listen_addr = 127.0.0.1', `listen_port = ${port}`, 'unix_socket_dir ='],
    ...['auth_type = trust', `auth_file = ${users}`, 'pool_mode = transaction'],
    ...['default_pool_size = 3', 'min_pool_size = 3', 'server_round_robin = 1'],
  ]
  await writeFile(config, `${lines.join('\n')}\n`)
  const account = await accountFor(folder, [config, users])
  const child = spawn(PGBOUNCER, [config], { stdio: 'ignore', ...account })
  const exited = once(child, 'exit')
  await waitFor(() => canConnect(port), { message: 'pgbouncer to listen' })
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    async stop() {
      child.kill('SIGKILL')
      await exited
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** It refuses to run as root. */
async function accountFor(folder: string, files: readonly string[]): Promise<{ uid?: number; gid?: number }> {
  if (process.getuid?.() !== 0) return {}
  const accounts = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const nobody = accounts.find(([name]) => name === 'nobody')
  const [uid, gid] = [Number(nobody?.[2]), Number(nobody?.[3])]
  for (const path of [folder, ...files]) await chown(path, uid, gid)
  return { uid, gid }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}
