import { readFile } from 'node:fs/promises'
import path from 'node:path'

/** Files that say how code is run; nobody imports them. */
const SETTINGS = ['package.json', 'tsconfig.json']

/** `from './x.json'`, `import './x.json'`, `import('./x.json')` and `require('./x.json')`. */
const IMPORTS = /\b(?:from|import|require)\s*\(?\s*['"]([^'"]+\.json)['"]/g

/**
 * True for a JSON file that belongs to the code which may import it: what a worker reads or writes beside its code is data.
 *
 * @param file - Absolute path.
 * @param code - Absolute paths of the files that may import it.
 */
export async function isPartOf(file: string, code: readonly string[]): Promise<boolean> {
  if (SETTINGS.includes(path.basename(file))) return true
  const imported = await Promise.all(code.map(importsOf))
  return imported.flat().includes(file)
}

/** The JSON files that a file of code imports by their paths. */
async function importsOf(file: string): Promise<string[]> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch {
    return [] // it has just gone, which is a change of its own
  }
  return [...text.matchAll(IMPORTS)].map(([, name = '']) => path.resolve(path.dirname(file), name))
}
