import type { Environment } from '../redis/variables.ts'

/** The environment of this process; the programs read it here and hand it on. */
export function environment(): Environment {
  return process.env
}
