import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('..', import.meta.url))

const changedMs = (path) => statSync(new URL(path, import.meta.url), { throwIfNoEntry: false })?.mtimeMs ?? 0

/** Installs the rivals when the lock file is newer than what is installed. The SDK itself never depends on them. */
export const ensureInstalled = () => {
  if (changedMs('../node_modules/.package-lock.json') >= changedMs('../package-lock.json')) return
  console.log('bench: installing the rivals (npm ci)')
  const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: folder,
    stdio: 'inherit',
  })
  if (status !== 0) throw new Error(`npm ci in bench/ ended with status ${status}`)
}
