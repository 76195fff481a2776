import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findFreePort } from '../../src/testing/servers/free-port.ts'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'
import { onTestFinished } from '../support/on-test-finished.ts'

/** A server that speaks TLS, with a certificate of its own making, and the settings with which a sentinel does, too. */
export async function startTls(): Promise<{ port: number; ca: string; sentinel: readonly string[] }> {
  const folder = await mkdtemp(join(tmpdir(), 'byclaw-tls-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  await promisify(execFile)('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, '-days', '2'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
  ])
  const port = await findFreePort()
  const tls = ['--tls-port', `${port}`, '--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', cert]
  const server = await startLocalRedis({ fresh: true, args: [...tls, '--tls-auth-clients', 'no'] })
  onTestFinished(() => server.stop())
  const sentinel = [`tls-cert-file ${cert}`, `tls-key-file ${key}`, `tls-ca-cert-file ${cert}`, 'tls-auth-clients no']
  return { port, ca: await readFile(cert, 'utf8'), sentinel: [...sentinel, 'tls-replication yes'] }
}
