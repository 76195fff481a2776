import { execFile } from 'node:child_process'
import { chmod, chown, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { PostgresHistory, type PostgresHistoryOptions } from '../../src/history/postgres.ts'
import { startLocalPostgres } from '../../src/testing/servers/postgres.ts'
import { bringPrograms, INSTALL_TIMEOUT_MS } from '../support/programs.ts'

const run = promisify(execFile)
const hasOpenssl = await run('openssl', ['version']).then(
  () => true,
  () => false,
)

beforeAll(bringPrograms, INSTALL_TIMEOUT_MS)

/** A certificate for this machine, signed by itself, whose key the server may read. */
async function certificate(): Promise<{ readonly cert: string; readonly key: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'byclaw-tls-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  await run('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '2',
    '-keyout',
    key,
    '-out',
    cert,
    ...subject,
  ])
  await chmod(folder, 0o755)
  await chmod(key, 0o600)
  if (process.getuid?.() === 0) {
    const accounts = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
    const account = accounts.find(([name]) => name === 'postgres') ?? accounts.find(([name]) => name === 'nobody')
    await chown(key, Number(account?.[2]), Number(account?.[3]))
  }
  return { cert, key }
}

test.runIf(hasOpenssl)('speaks TLS, and to the right server only', { timeout: 60_000 }, async () => {
  const { cert, key } = await certificate()
  const args = [`ssl=on`, `ssl_cert_file=${cert}`, `ssl_key_file=${key}`].flatMap((value) => ['-c', value])
  const server = await startLocalPostgres({ fresh: true, args })
  onTestFinished(() => server.stop())
  const open = (options: Partial<PostgresHistoryOptions>) => {
    const history = new PostgresHistory({ connectionString: server.url, ...options })
    onTestFinished(() => history.close())
    return history
  }
  const ca = await readFile(cert, 'utf8')
  const history = open({ ssl: { ca }, connectionString: `${server.url}?application_name=secret` })
  await history.append('s', [{ role: 'user', content: 'x' }])
  const { Client } = (await import('pg')).default
  const client = new Client({ connectionString: server.url })
  await client.connect()
  const { rows } = await client.query(
    "SELECT bool_and(ssl) AS all FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'secret'",
  )
  await client.end()
  expect(rows).toEqual([{ all: true }])
  await expect(open({ ssl: true }).list('s')).rejects.toMatchObject({
    code: 'GW_HISTORY_FAILED',
    message: expect.stringMatching(/self-signed|certificate/i),
  })
  expect(
    await open({ connectionString: `${server.url}?sslmode=verify-full&sslrootcert=${cert}` }).list('s'),
  ).toHaveLength(1)
})
