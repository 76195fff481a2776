/** Variables by name; an empty one counts as not set, since Compose files and CI systems hand on empty ones. */
export type Environment = Readonly<Record<string, string | undefined>>

/** The environment of this process; the programs read it here and hand it on. */
export function environment(): Environment {
  return process.env
}
