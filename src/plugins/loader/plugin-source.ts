import { lstat, readdir, readFile, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { errorMessage, GatewayError } from '../../errors.ts'
import { isObject, parseJson } from '../../protocol/json.ts'
import { type Circle, leadsBack } from '../../util/leads-back.ts'

const EXTENSIONS = ['.ts', '.mts', '.js', '.mjs', '.cjs']

/** Where a plugin lies: a folder with an entry file, or a single file. */
export interface PluginSource {
  /** How messages call it: its path. */
  readonly path: string
  /** The folder that is its own; undefined for a single file. */
  readonly folder: string | undefined
  /** Absolute path of the file whose default export is the plugin. */
  readonly entry: string
  /** Packages that cannot be bundled, such as those with native code; loaded by Node, once. */
  readonly external: readonly string[]
}

/** The error that says why a plugin was not loaded. */
export function notLoaded(plugin: string, reason: string, cause?: unknown): GatewayError {
  return new GatewayError('GW_PLUGIN_NOT_LOADED', { plugin, reason }, { cause })
}

/** True for names in a folder of plugins that mean none: hidden ones, `_shared`, `node_modules`, types and tests. */
export function isPassedOver(name: string): boolean {
  return /^[._]|^node_modules$|~$|\.d\.[mc]?ts$|\.(?:test|spec)\.[mc]?[jt]s$/.test(name)
}

/** The names in a folder of plugins that may be plugins: folders, and files of code. */
export async function namesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  const candidates = entries.filter((entry) => !isPassedOver(entry.name))
  // What is neither here is a symbolic link, which may lead to either.
  return candidates.filter((entry) => !entry.isFile() || isCode(entry.name)).map(({ name }) => name)
}

/**
 * Where a link in a folder of plugins leads, if that is the folder itself, one around it, or another plugin in it: then it
 * means no plugin of its own. Undefined for all else.
 */
export async function ledBackTo(place: string): Promise<Circle | undefined> {
  const circle = leadsBack(place)
  if (circle !== undefined) return circle
  try {
    if (!(await lstat(place)).isSymbolicLink()) return undefined
    const target = await realpath(place)
    const isBeside = path.dirname(target) === (await realpath(path.dirname(place)))
    return isBeside && !isPassedOver(path.basename(target)) ? { link: place, target } : undefined
  } catch {
    // Gone, or a link to nothing: what reads the plugin says so.
    return undefined
  }
}

/**
 * The plugin at a path, or null if there is none any more.
 *
 * @throws GatewayError `GW_PLUGIN_NOT_LOADED` for a folder without an entry file, or with a package.json that is wrong.
 */
export async function sourceAt(place: string): Promise<PluginSource | null> {
  const found = await statOrNull(place)
  if (found === null) return null
  if (!found.isDirectory()) {
    return isCode(place) ? { path: place, folder: undefined, entry: place, external: [] } : null
  }
  const { entry, external } = await readPackage(place)
  if (entry !== undefined) return { path: place, folder: place, entry, external }
  for (const extension of EXTENSIONS) {
    const index = path.join(place, `index${extension}`)
    if ((await statOrNull(index))?.isFile()) return { path: place, folder: place, entry: index, external }
  }
  const wanted = 'a package.json with { "byclaw": { "plugin": "./file" } }, or an index.ts or index.js'
  throw notLoaded(place, `the folder needs ${wanted}; a folder that is none of a plugin begins with _`)
}

/** What the `byclaw` field of a folder's package.json says: see {@link readField}. */
async function readPackage(folder: string): Promise<{ entry?: string; external: readonly string[] }> {
  const file = path.join(folder, 'package.json')
  if ((await statOrNull(file)) === null) return { external: [] }
  const field = readField(file, await readFile(file, 'utf8'))
  if (field === null) return { external: [] }
  const entry = path.resolve(folder, field.plugin)
  if (!(await statOrNull(entry))?.isFile()) {
    throw notLoaded(folder, `byclaw.plugin in package.json names '${field.plugin}', and there is no such file`)
  }
  return { entry, external: field.external }
}

/**
 * The `byclaw` field of a package.json: `{ "plugin": "./index.ts", "external": ["sharp"] }`; null if it has none.
 *
 * @throws GatewayError `GW_PLUGIN_NOT_LOADED` when the file or the field is not what it should be.
 */
export function readField(file: string, text: string): { plugin: string; external: readonly string[] } | null {
  const parsed = parseJson(text)
  if (!parsed.ok) throw notLoaded(file, `it is no JSON: ${parsed.reason}`)
  const field = isObject(parsed.value) ? parsed.value['byclaw'] : undefined
  if (field === undefined) return null
  const { plugin, external = [] } = isObject(field) ? field : {}
  if (typeof plugin !== 'string') throw notLoaded(file, 'byclaw.plugin must be the path of a file')
  if (!isTexts(external)) throw notLoaded(file, 'byclaw.external must be a list of package names')
  return { plugin, external }
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function isCode(name: string): boolean {
  return EXTENSIONS.includes(path.extname(name))
}

/** What there is at a path; links are followed. */
async function statOrNull(place: string) {
  try {
    return await stat(place)
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return null
    throw notLoaded(place, errorMessage(error), error)
  }
}
