import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

/** Where to look for a program. */
export interface BinarySearch {
  readonly names: readonly string[]
  readonly env: NodeJS.ProcessEnv
  /** Folders to look into after those of PATH. */
  readonly folders?: readonly string[]
}

/** The full path of the first program found, an earlier name before an earlier folder. */
export async function findBinary({ names, env, folders = [] }: BinarySearch): Promise<string | undefined> {
  const all = [...(env.PATH ?? '').split(delimiter).filter((folder) => folder !== ''), ...folders]
  for (const name of names) {
    for (const folder of all) {
      const path = join(folder, name)
      if (await isProgram(path)) return path
    }
  }
  return undefined
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK)
    return (await stat(path)).isFile()
  } catch {
    return false // not there, or not for us: the search goes on
  }
}
