import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { findBinary } from '../../src/testing/servers/find-binary.ts'
import { type LocalPostgres, startLocalPostgres } from '../../src/testing/servers/postgres.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { isAlive } from '../support/processes.ts'
import { bringPrograms, INSTALL_TIMEOUT_MS } from '../support/programs.ts'

let psql: string

beforeAll(async () => {
  await bringPrograms()
  // Comes with the server's package, in PATH or beside the server.
  const versions = await readdir('/usr/lib/postgresql').catch(() => [])
  const folders = versions.map((version) => join('/usr/lib/postgresql', version, 'bin'))
  psql = (await findBinary({ names: ['psql'], env: process.env, folders })) ?? 'psql'
}, INSTALL_TIMEOUT_MS)

async function query(postgres: LocalPostgres, sql: string): Promise<string> {
  const { stdout } = await promisify(execFile)(psql, [
    '-X',
    '-A',
    '-t',
    '-v',
    'ON_ERROR_STOP=1',
    '-c',
    sql,
    postgres.url,
  ])
  return stdout.trim()
}

async function startPostgres(): Promise<LocalPostgres> {
  const postgres = await startLocalPostgres({ fresh: true })
  onTestFinished(() => postgres.stop())
  return postgres
}

test('a fresh Postgres answers on 127.0.0.1 only, and stops without a trace', async () => {
  const postgres = await startPostgres()
  expect(postgres.url).toBe(`postgres://postgres@127.0.0.1:${postgres.port}/postgres`)
  expect(await query(postgres, 'SHOW listen_addresses')).toBe('127.0.0.1')
  expect(await query(postgres, 'SHOW server_encoding')).toBe('UTF8')
  const { pid = 0, folder = '' } = postgres
  expect(isAlive(pid)).toBe(true)
  await Promise.all([postgres.stop(), postgres.stop()])
  expect(isAlive(pid)).toBe(false)
  expect(existsSync(folder)).toBe(false)
})

test('keeps port and data over an orderly restart and over a crash', async () => {
  const postgres = await startPostgres()
  const { port } = postgres
  await query(postgres, 'CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)')
  await postgres.restart()
  expect(await query(postgres, 'SELECT n FROM kept')).toBe('1')
  postgres.kill('SIGKILL')
  await waitFor(() => postgres.pid === undefined)
  await postgres.restart()
  expect(await query(postgres, 'SELECT n FROM kept')).toBe('1')
  expect(postgres.port).toBe(port)
})

test('three start at once, each with data of its own', async () => {
  const servers = await Promise.all(Array.from({ length: 3 }, startPostgres))
  await Promise.all(servers.map((postgres, i) => query(postgres, `CREATE TABLE t AS SELECT ${i} AS n`)))
  expect(await Promise.all(servers.map((postgres) => query(postgres, 'SELECT n FROM t')))).toEqual(['0', '1', '2'])
})
