import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('..', import.meta.url))

/** Installs the rivals from the lock file when that was never done. The SDK itself never depends on them. */
export const ensureInstalled = () => {
  if (existsSync(new URL('../node_modules/.package-lock.json', import.meta.url))) return
  console.log('bench: installing the rivals (npm ci)')
  const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: folder,
    stdio: 'inherit',
  })
  if (status !== 0) throw new Error(`npm ci in bench/ ended with status ${status}`)
}
