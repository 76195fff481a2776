import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'

const NAMES = ['content-guard', 'mcp', 'usage', 'weather']
const DEPENDENCIES = ['@modelcontextprotocol', 'ioredis', 'tsx', 'zod']

test('installed plugins are imported by name', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'byclaw-packages-test-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const packages = join(folder, 'node_modules')
  await mkdir(packages)
  await symlink(resolve('.'), join(packages, 'byclaw-gateway-sdk'))
  for (const name of DEPENDENCIES) await symlink(resolve('node_modules', name), join(packages, name))
  for (const name of NAMES) {
    await cp(resolve('plugins', name), join(packages, `byclaw-plugin-${name}`), { recursive: true })
  }
  const program = `for (const name of ${JSON.stringify(NAMES)}) console.log(typeof (await import('byclaw-plugin-' + name)).default)`
  await writeFile(join(folder, 'main.mjs'), program)
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', 'main.mjs'], { cwd: folder })
  expect(stdout.trim().split('\n')).toEqual(NAMES.map(() => 'function'))
})
