import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { findBinary } from '../../src/testing/servers/find-binary.ts'
import { findFreePort } from '../../src/testing/servers/free-port.ts'
import type { LocalServerOptions } from '../../src/testing/servers/local-server.ts'
import { type LocalRedis, startLocalRedis } from '../../src/testing/servers/redis.ts'
import { testRedisUrl } from '../support/redis.ts'

// As on a machine without the development packages; so no test here really starts a container.
vi.mock('testcontainers', () => {
  throw new Error('Cannot find package testcontainers')
})

async function startRedis(options: LocalServerOptions): Promise<LocalRedis> {
  const redis = await startLocalRedis(options)
  onTestFinished(() => redis.stop())
  return redis
}

/** A folder to be the whole PATH, with the given scripts in it. */
async function folderWith(scripts: Record<string, string>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'byclaw-path-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  for (const [name, script] of Object.entries(scripts)) {
    await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`)
    await chmod(join(folder, name), 0o755)
  }
  return folder
}

/** The real server, for scripts that stand in its place for a while. */
async function realServer(): Promise<string> {
  const binary = await findBinary({ names: ['redis-server', 'valkey-server'], env: process.env })
  if (binary === undefined) throw new Error('this test needs a redis-server')
  return binary
}

async function listen(): Promise<{ server: Server; port: number }> {
  const server = createServer()
  const port = await findFreePort()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  onTestFinished(() => new Promise<void>((resolve) => server.close(() => resolve())))
  return { server, port }
}

describe('a URL', () => {
  test('from the environment comes first, and its server is left alone', async () => {
    const redis = await startRedis({ env: { REDIS_URL: testRedisUrl() } })
    expect(redis).toMatchObject({ url: testRedisUrl(), source: 'url', pid: undefined, folder: undefined })
    expect(redis.port).toBe(Number(new URL(testRedisUrl()).port))
    expect(() => redis.kill('SIGKILL')).toThrow('cannot be killed')
    await expect(redis.restart()).rejects.toThrow('cannot be restarted')
    await redis.stop()
    expect((await startRedis({ url: testRedisUrl() })).source).toBe('url')
  })

  test('as an option beats the environment', async () => {
    const redis = await startRedis({ url: testRedisUrl(), env: { REDIS_URL: 'redis://127.0.0.1:1' } })
    expect(redis.url).toBe(testRedisUrl())
  })

  test('at which nobody answers is an error that names host and port but no password', async () => {
    const attempt = startLocalRedis({ url: 'redis://me:secret@127.0.0.1:1/0', startTimeoutMs: 500 })
    await expect(attempt).rejects.toThrow('Redis: nobody answers at 127.0.0.1:1; is REDIS_URL right?')
  })

  test('that is none is an error which does not repeat it', async () => {
    const attempt = startLocalRedis({ url: 'secret' })
    await expect(attempt).rejects.toThrow(/^Redis: what was given as REDIS_URL is not a URL$/)
  })

  test('and fresh exclude each other', async () => {
    await expect(startLocalRedis({ url: testRedisUrl(), fresh: true })).rejects.toThrow('url and fresh')
  })

  test('that is empty counts as none', async () => {
    expect((await startRedis({ env: { ...process.env, REDIS_URL: '' } })).source).not.toBe('url')
  })
})

describe('a program', () => {
  test('is taken from PATH, redis-server before valkey-server', async () => {
    const real = await realServer()
    const both = await folderWith({ 'redis-server': `exec ${real} "$@"`, 'valkey-server': 'exit 9' })
    expect((await startRedis({ env: { PATH: both } })).source).toBe('binary')
    const valkey = await folderWith({ 'valkey-server': `exec ${real} "$@"` })
    expect((await startRedis({ env: { PATH: valkey } })).source).toBe('binary')
  })

  test('that ends before it is ready shows the end of its log, and leaves no folder', async () => {
    const path = await folderWith({ 'redis-server': 'echo one; echo something is wrong >&2; exit 7' })
    const temporary = await folderWith({})
    vi.stubEnv('TMPDIR', temporary)
    onTestFinished(() => void vi.unstubAllEnvs())
    const attempt = startLocalRedis({ env: { PATH: path } })
    await expect(attempt).rejects.toThrow(
      /ended with 7 before it was ready; its log ends with:\none\nsomething is wrong$/,
    )
    expect(await readdir(temporary)).toEqual([])
  })

  test('that never gets ready is given up in time', async () => {
    const path = await folderWith({ 'redis-server': 'echo still thinking; exec /bin/sleep 60' })
    const attempt = startLocalRedis({ env: { PATH: path }, startTimeoutMs: 300 })
    await expect(attempt).rejects.toThrow(/was not ready within 300 ms; its log ends with:\nstill thinking$/)
  })

  test('that refuses its arguments says so', async () => {
    await expect(startLocalRedis({ fresh: true, args: ['--no-such-thing', '1'] })).rejects.toThrow(/no-such-thing/)
  })

  test('whose port was taken in the meantime is started on another', async () => {
    const { port: taken } = await listen()
    const flag = join(await folderWith({}), 'tried')
    // The first time the port is one on which somebody listens, as if he had been faster.
    const script = `if [ -e ${flag} ]; then exec ${await realServer()} "$@"; fi; : > ${flag}; exec ${await realServer()} "$@" --port ${taken}`
    const redis = await startRedis({ env: { PATH: await folderWith({ 'redis-server': script }) } })
    expect(redis.port).not.toBe(taken)
  })

  test('is not mistaken for another server on its port', async () => {
    const other = await startRedis({ fresh: true })
    const path = await folderWith({ 'redis-server': 'exec /bin/sleep 60' })
    const attempt = startLocalRedis({ fresh: true, env: { PATH: path }, port: other.port, startTimeoutMs: 500 })
    await expect(attempt).rejects.toThrow('was not ready within 500 ms')
  })

  test('takes the port that was asked for, or says that it is taken', async () => {
    const port = await findFreePort()
    expect((await startRedis({ fresh: true, port })).port).toBe(port)
    await expect(startLocalRedis({ fresh: true, port })).rejects.toThrow(`Redis: port ${port} is already in use`)
  })
})

describe.skipIf(process.getuid?.() !== 0)('an installation as root', () => {
  const tools = ['rm', 'chmod'].map((name) => `/bin/${name}`)

  async function aptGet(script: string): Promise<string> {
    const path = await folderWith({ 'apt-get': script })
    for (const tool of tools) await symlink(tool, join(path, tool.slice('/bin/'.length)))
    return path
  }

  test('comes last, says what it does, and starts what it brought', async () => {
    const real = await realServer()
    const path = await aptGet(
      `here="\${0%/*}"; echo "$DEBIAN_FRONTEND $*" >> "$here/calls"
       case "$*" in install*redis-server) printf '#!/bin/sh\\nexec ${real} "$@"\\n' > "$here/redis-server"; chmod +x "$here/redis-server";; esac`,
    )
    const messages: string[] = []
    const redis = await startRedis({ env: { PATH: path }, log: (message) => messages.push(message) })
    expect(redis.source).toBe('installed')
    expect(messages).toEqual(['installing the package redis-server with apt-get'])
  })

  test('that fails is one of the choices in the error', async () => {
    const path = await aptGet('echo "E: Unable to locate package" >&2; exit 100')
    await expect(startLocalRedis({ env: { PATH: path } })).rejects.toThrow(
      /apt-get could not install .*Unable to locate/,
    )
  })
})

test('where nothing helps, the error lists the choices', async () => {
  const empty = join(tmpdir(), 'byclaw-nothing-here')
  await mkdir(empty, { recursive: true })
  onTestFinished(() => rm(empty, { recursive: true }))
  const attempt = startLocalRedis({ env: { PATH: empty } })
  await expect(attempt).rejects.toThrow(
    [
      'There is no Redis here. Choose one:',
      '  - set REDIS_URL to one that runs',
      '  - put redis-server or valkey-server on the PATH',
      '  - let one run in a container: the package testcontainers is not installed',
      '  - let it be installed on Debian or Ubuntu as root: there is no apt-get here',
    ].join('\n'),
  )
})

test('free ports lie below the range of source ports', async () => {
  for (let i = 0; i < 50; i += 1) expect(await findFreePort()).toBeLessThan(32_768)
})
