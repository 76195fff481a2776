import { lstatSync, realpathSync } from 'node:fs'
import path from 'node:path'

/** A link that leads back, by its place without detours, and its target. */
export interface Circle {
  readonly link: string
  readonly target: string
}

/**
 * Where a symbolic link leads, if that is a folder in which it lies itself, on whatever way one has come to it: who
 * follows it walks in circles. Undefined for all else.
 */
export function leadsBack(file: string): Circle | undefined {
  try {
    if (!lstatSync(file).isSymbolicLink()) return undefined
    const target = realpathSync(file)
    const folder = path.dirname(file)
    for (let at = folder; ; at = path.dirname(at)) {
      if (realpathSync(at) === target) return { link: path.join(realpathSync(folder), path.basename(file)), target }
      if (at === path.dirname(at)) return undefined
    }
  } catch {
    // Gone, or no way leads there: who looks at the file itself is told.
    return undefined
  }
}
