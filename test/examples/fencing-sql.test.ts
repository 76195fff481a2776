import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { findBinary } from '../../src/testing/servers/find-binary.ts'
import { startLocalPostgres } from '../../src/testing/servers/postgres.ts'
import { textOf } from '../ground/sources.ts'
import { bringPrograms, INSTALL_TIMEOUT_MS } from '../support/programs.ts'

let psql: string

beforeAll(async () => {
  await bringPrograms()
  const versions = await readdir('/usr/lib/postgresql').catch(() => [])
  const folders = versions.map((version) => join('/usr/lib/postgresql', version, 'bin'))
  psql = (await findBinary({ names: ['psql'], env: process.env, folders })) ?? 'psql'
}, INSTALL_TIMEOUT_MS)

test('the statements of docs/reliability.md refuse who comes too late', { timeout: 180_000 }, async () => {
  const [table = '', insert = '', update = ''] = [
    ...textOf('docs/reliability.md').matchAll(/```sql\n([\s\S]*?)```/g),
  ].map(([, sql]) => sql)
  const postgres = await startLocalPostgres({ fresh: true })
  onTestFinished(() => postgres.stop())
  const run = async (...statements: string[]) => {
    const args = statements.flatMap((sql) => ['-c', sql])
    const { stdout } = await promisify(execFile)(psql, [
      '-X',
      '-A',
      '-t',
      '-v',
      'ON_ERROR_STOP=1',
      ...args,
      postgres.url,
    ])
    return stdout.trim().split('\n').at(-1)
  }
  const prepared = (name: string, sql: string) => `PREPARE ${name} (text, text, bigint) AS ${sql}`
  const write = (sql: string, body: string, token: number) =>
    run(prepared('write', sql), `EXECUTE write('m', '${body}', ${token})`)
  const row = () => run('SELECT body, fence FROM reports')
  await run(table)
  expect(await write(insert, 'first', 1)).toBe('INSERT 0 1')
  expect(await write(update, 'first, more', 1)).toBe('UPDATE 1')
  // Taken over: the second attempt begins from the start.
  expect(await write(insert, 'second', 2)).toBe('INSERT 0 1')
  // The first one was frozen, and wakes up.
  expect(await write(update, 'too late', 1)).toBe('UPDATE 0')
  expect(await write(insert, 'too late', 1)).toBe('INSERT 0 0')
  expect(await row()).toBe('second|2')
  expect(await write(update, 'second, more', 2)).toBe('UPDATE 1')
  expect(await row()).toBe('second, more|2')
})
