import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

/** As this runs: `.ts` from the sources, `.js` from what was built of them, where modules lie in other files than here. */
const EXTENSION = path.extname(import.meta.url)

/** Where a module of this package lies that is loaded by its place; `name` is its path below src, without an extension. */
export function ownFile(name: string): URL {
  const root = path.dirname(createRequire(import.meta.url).resolve('byclaw-gateway-sdk/package.json'))
  return pathToFileURL(path.join(root, EXTENSION === '.ts' ? 'src' : 'dist', name + EXTENSION))
}
