import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'

const NAMES = ['content-guard', 'mcp', 'usage', 'weather']
const DEPENDENCIES = ['@modelcontextprotocol', '@types', 'ioredis', 'tsx', 'zod']

const run = promisify(execFile)

/** A project of a user's that has installed them. */
async function installed(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'byclaw-packages-test-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const packages = join(folder, 'node_modules')
  await mkdir(packages)
  await symlink(resolve('.'), join(packages, 'byclaw-gateway-sdk'))
  for (const name of DEPENDENCIES) await symlink(resolve('node_modules', name), join(packages, name))
  for (const name of NAMES) {
    await cp(resolve('plugins', name), join(packages, `byclaw-plugin-${name}`), { recursive: true })
  }
  return folder
}

test('installed plugins are imported by name', async () => {
  const folder = await installed()
  const program = `for (const name of ${JSON.stringify(NAMES)}) console.log(typeof (await import('byclaw-plugin-' + name)).default)`
  await writeFile(join(folder, 'main.mjs'), program)
  const { stdout } = await run(process.execPath, ['--import', 'tsx', 'main.mjs'], { cwd: folder })
  expect(stdout.trim().split('\n')).toEqual(NAMES.map(() => 'function'))
})

test('a project that checks strictly may import them, with the setting that their pages name', async () => {
  const folder = await installed()
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  await writeFile(join(folder, 'main.ts'), NAMES.map((name) => `import 'byclaw-plugin-${name}'`).join('\n'))
  const compilerOptions = {
    ...{ strict: true, target: 'es2022', module: 'nodenext', types: ['node'], skipLibCheck: true, outDir: 'out' },
    ...{ exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noPropertyAccessFromIndexSignature: true },
    ...{ noUnusedLocals: true, noUnusedParameters: true, noImplicitReturns: true, noImplicitOverride: true },
    rewriteRelativeImportExtensions: true,
  }
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.ts'] }))
  const compiler = resolve('node_modules/typescript/bin/tsc')
  // It tells its findings on stdout, and by its exit code.
  const answer = await run(process.execPath, [compiler, '-p', '.'], { cwd: folder }).catch((error: unknown) => error)
  expect(answer).toMatchObject({ stdout: '' })
  for (const name of NAMES) {
    const page = await readFile(resolve('plugins', name, 'README.md'), 'utf8')
    expect(page).toContain('`rewriteRelativeImportExtensions` in tsconfig.json')
  }
}, 120_000)
