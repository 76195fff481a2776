import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'

/** Whether a process of this id is there; a zombie counts as there. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** The private folders of local servers, of whatever process, that are there now. */
export function serverFolders(): string[] {
  return readdirSync(tmpdir()).filter((name) => /^byclaw-(redis|postgres)-/.test(name))
}
