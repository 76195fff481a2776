import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { type Circle, leadsBack } from '../../util/leads-back.ts'

/** So much of a hash tells two builds apart, and still fits on a line. */
const HASH_LENGTH = 12

/** Files that come and go while others are written, and those that a plugin may write itself. */
const PASSING = /^\.|~$|\.(?:log|tmp|swp|swx|part)$/

/** True for a file or folder whose changes mean nothing: packages, hidden ones, logs, an editor's leftovers. */
export function isPassing(name: string): boolean {
  return name === 'node_modules' || PASSING.test(name)
}

/**
 * The files of a plugin's folder, of subfolders too, in order. One that disappears meanwhile is left out.
 *
 * @param onCircle - Told of each link that leads back to where it lies; it is passed over.
 */
export async function filesBelow(folder: string, onCircle: (circle: Circle) => void): Promise<string[]> {
  const entries = await presentOr([], readdir(folder, { withFileTypes: true }))
  const files = await Promise.all(
    entries
      .filter(({ name }) => !isPassing(name))
      .map(async (entry) => {
        const file = path.join(folder, entry.name)
        const circle = entry.isSymbolicLink() ? leadsBack(file) : undefined
        if (circle !== undefined) {
          onCircle(circle)
          return []
        }
        const found = entry.isSymbolicLink() ? await presentOr(null, stat(file)) : entry
        if (found?.isDirectory()) return filesBelow(file, onCircle)
        // A link to nothing may lead to a file later. To read a pipe would take for ever, and a socket cannot be read.
        return found === null || found.isFile() ? [file] : []
      }),
  )
  return files.flat().sort()
}

/** A text that changes when a file is written, added or removed; looks at times and sizes only. */
export async function signatureOf(files: readonly string[]): Promise<string> {
  const parts = await Promise.all(
    files.map(async (file) => {
      const found = await presentOr(null, stat(file))
      return found === null ? `${file}?` : `${file}:${found.ino}:${found.size}:${found.mtimeMs}`
    }),
  )
  return parts.join('\n')
}

/** A short hash of a plugin's code as it was bundled. The same on every machine, wherever the plugin lies there. */
export function codeHashOf(root: string, code: string): string {
  return createHash('sha256').update(code.replaceAll(root, '.')).digest('hex').slice(0, HASH_LENGTH)
}

/** A short hash of all that a plugin is made of: its code, by its hash, and the files beside it. */
export async function hashOf(root: string, codeHash: string, files: readonly string[]): Promise<string> {
  const hash = createHash('sha256').update(codeHash)
  for (const file of files) {
    const content = await presentOr(null, readFile(file))
    if (content === null) continue
    hash.update(`\0${path.relative(root, file)}\0${content.length}\0`).update(content)
  }
  return hash.digest('hex').slice(0, HASH_LENGTH)
}

async function presentOr<Value, Missing>(missing: Missing, work: Promise<Value>): Promise<Value | Missing> {
  try {
    return await work
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return missing
    throw error
  }
}
