import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { findBinary } from './find-binary.ts'

const INSTALL_MS = 600_000
const ERROR_TAIL_LINES = 5

// The policy keeps a distribution's package from starting its own service; it is removed again even if we are not there
// to see the end, and left alone where the machine has one already.
const SCRIPT = `
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' > "$policy"
  chmod 755 "$policy"
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$1"
`

/** The package is there now, or why it is not. */
export type InstallOutcome =
  | { readonly status: 'installed' }
  | { readonly status: 'unavailable'; readonly reason: string }

/** What to install. */
export interface InstallOptions {
  readonly packageName: string
  readonly env: NodeJS.ProcessEnv
  readonly log: (message: string) => void
}

/** Installs a package with apt-get, where there is one and we may. */
export async function installPackage({ packageName, env, log }: InstallOptions): Promise<InstallOutcome> {
  if ((await findBinary({ names: ['apt-get'], env })) === undefined) return unavailable('there is no apt-get here')
  if (process.getuid?.() !== 0) return unavailable('only root may install packages with apt-get')
  log(`installing the package ${packageName} with apt-get`)
  try {
    await promisify(execFile)('/bin/sh', ['-c', SCRIPT, 'install', packageName], {
      env: { ...env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
      timeout: INSTALL_MS,
      maxBuffer: 64 * 1024 * 1024,
    })
    return { status: 'installed' }
  } catch (error) {
    const tail = error instanceof Error ? error.message.trimEnd().split('\n').slice(-ERROR_TAIL_LINES).join(' ') : ''
    return unavailable(`apt-get could not install ${packageName}: ${tail}`)
  }
}

function unavailable(reason: string): InstallOutcome {
  return { status: 'unavailable', reason }
}
