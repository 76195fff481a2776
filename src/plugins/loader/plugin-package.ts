import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Plugin } from '../../agent/plugin.ts'
import { errorMessage, GatewayError } from '../../errors.ts'
import { placeOf } from '../../util/stack-place.ts'
import { pluginOf } from './load-plugin.ts'
import { notLoaded, readField } from './plugin-source.ts'

/** What a name given as a plugin means: a place on disk that is watched, or an installed package, loaded once. */
export type NamedPlugin =
  | { readonly kind: 'place'; readonly place: string }
  | { readonly kind: 'package'; readonly name: string; readonly entry: string }

/**
 * Finds the plugin that is meant: a path if it begins with `.` or is absolute, else a package that is installed in or above
 * the folder and says in the `byclaw` field of its package.json where its plugin is.
 *
 * @throws GatewayError `GW_PLUGIN_NOT_LOADED` when there is none.
 */
export async function findNamed(name: string, folder: string): Promise<NamedPlugin> {
  if (name.startsWith('.') || path.isAbsolute(name)) {
    const place = path.resolve(folder, name)
    if (existsSync(place)) return { kind: 'place', place }
    throw notLoaded(name, `there is no such file or folder (${place})`)
  }
  const home = packageHome(name, folder)
  if (home === undefined) {
    throw notLoaded(name, `there is no such package in or above ${folder}; a path begins with ./`)
  }
  const manifest = path.join(home, 'package.json')
  const field = readField(manifest, await readFile(manifest, 'utf8'))
  if (field === null) throw notLoaded(name, 'it is no plugin: its package.json has no "byclaw" field')
  const entry = path.resolve(home, field.plugin)
  if (!existsSync(entry)) throw notLoaded(name, `byclaw.plugin names '${field.plugin}', and there is no such file`)
  // A package in the making is linked, not installed.
  return /\.[mc]?ts$/.test(entry) ? { kind: 'place', place: home } : { kind: 'package', name, entry }
}

/** @throws GatewayError `GW_PLUGIN_NOT_LOADED` with the place where it threw. */
export async function importPackage(name: string, entry: string): Promise<Plugin> {
  try {
    return pluginOf(name, await import(pathToFileURL(entry).href))
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'GW_PLUGIN_NOT_LOADED') throw error
    const place = placeOf(error)
    const where = place === undefined ? '' : ` (${place})`
    throw notLoaded(name, `it threw while it was loaded: ${errorMessage(error)}${where}`, error)
  }
}

function packageHome(name: string, folder: string): string | undefined {
  const home = path.join(folder, 'node_modules', name)
  if (existsSync(path.join(home, 'package.json'))) return home
  const above = path.dirname(folder)
  return above === folder ? undefined : packageHome(name, above)
}
