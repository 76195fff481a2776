import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ROOT, startNode } from '../examples/run-node.ts'

test('who has not installed pg is told so at once', { timeout: 60_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'byclaw-no-pg-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  await cp(join(ROOT, 'dist'), join(folder, 'dist'), { recursive: true })
  await mkdir(join(folder, 'node_modules'))
  for (const name of ['zod', 'pino']) {
    await symlink(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name))
  }
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  const program = join(folder, 'program.js')
  await writeFile(
    program,
    `import { PostgresHistory } from './dist/history/postgres.js'
    try { new PostgresHistory({ connectionString: 'postgres://x' }) } catch (error) { console.log(error.code, error.message) }`,
  )
  const { stdout, stderr } = await startNode([program]).ended
  expect(stderr).toBe('')
  expect(stdout).toBe(
    'GW_INVALID_ARGUMENT PostgresHistory is invalid: a history in Postgres needs the package pg: npm install pg\n',
  )
})
