import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readlinkSync } from 'node:fs'

const BOOT_ID = '/proc/sys/kernel/random/boot_id'
const PID_NAMESPACE = '/proc/self/ns/pid'

/** Names this run of the kernel: the same in all containers on it. Undefined elsewhere than on Linux. */
export function bootId(): string | undefined {
  return existsSync(BOOT_ID) ? readFileSync(BOOT_ID, 'utf8').trim() : undefined
}

/**
 * Names that in which a process id means one process: a host's name does not, since containers and other machines may bear
 * the same. Undefined elsewhere than on Linux.
 */
export function pidSpace(): string | undefined {
  const boot = bootId()
  if (boot === undefined) return undefined
  return shortHash(`${boot} ${readlinkSync(PID_NAMESPACE)}`)
}

/** Enough of a hash to tell a few from each other. */
export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}
