import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** A folder of a user with this package installed and the given files in it; gone after the test. */
export async function project(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'byclaw-cli-test-')))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  await mkdir(join(folder, 'node_modules'))
  await symlink(ROOT, join(folder, 'node_modules/byclaw-gateway-sdk'))
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), text)
  }
  return folder
}

/** The text of a module with one worker class; TypeScript unless told otherwise. */
export function agentSource(options: { readonly name?: string; readonly export?: string; readonly js?: boolean } = {}) {
  const { name = 'EchoAgent', export: how = 'export', js = false } = options
  const type = (text: string) => (js ? '' : text)
  return `import { GatewayWorker${type(', type AgentContext, type GatewayCommand')} } from 'byclaw-gateway-sdk'
${how} class ${name} extends GatewayWorker {
  getCapabilities()${type(': string[]')} { return ['echo'] }
  async processCommand(command${type(': GatewayCommand')}, context${type(': AgentContext')}) { return 'heard' }
}
`
}

/** The text of a module like that in JavaScript: where types are not the point, since to take them away takes a third of a start. */
export const plainAgent = (): string => agentSource({ js: true })

/** The package.json that \`npm init -y\` writes today. */
export const COMMONJS_PACKAGE = JSON.stringify({ name: 'user', type: 'commonjs' })
export const MODULE_PACKAGE = JSON.stringify({ name: 'user', type: 'module' })
