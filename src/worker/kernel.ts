import { createHash } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'

const BOOT_ID = '/proc/sys/kernel/random/boot_id'
const PID_NAMESPACE = '/proc/self/ns/pid'

/** Names this run of the kernel: the same in all containers on it. Undefined elsewhere than on Linux, and where it is hidden. */
export function bootId(): string | undefined {
  return ifThere(() => readFileSync(BOOT_ID, 'utf8').trim())
}

/**
 * Names that in which a process id means one process: a host's name does not, since containers and other machines may bear
 * the same. Undefined as {@link bootId} is.
 */
export function pidSpace(): string | undefined {
  const boot = bootId()
  const namespace = ifThere(() => readlinkSync(PID_NAMESPACE))
  return boot === undefined || namespace === undefined ? undefined : shortHash(`${boot} ${namespace}`)
}

/** Enough of a hash to tell a few from each other. */
export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}

function ifThere<Value>(read: () => Value): Value | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
