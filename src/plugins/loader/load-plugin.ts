import path from 'node:path'
import { Plugin } from '../../agent/plugin.ts'
import { errorMessage, GatewayError } from '../../errors.ts'
import { isObject } from '../../protocol/json.ts'
import type { Circle } from '../../util/leads-back.ts'
import { toPlugin } from '../check-plugin.ts'
import { type Bundle, type BundleResources, bundle } from './bundle.ts'
import { evaluate, placeIn } from './evaluate.ts'
import type { HostModules } from './host-modules.ts'
import { codeHashOf, filesBelow, hashOf } from './plugin-files.ts'
import { notLoaded, type PluginSource } from './plugin-source.ts'

/** A plugin's files, bundled but not yet run. */
export interface PluginBuild {
  readonly source: PluginSource
  readonly bundle: Bundle
  /** Of what was bundled. */
  readonly codeHash: string
  /** Of all that the plugin is made of. */
  readonly hash: string
  /** Everything whose change concerns it. */
  readonly files: readonly string[]
}

/** What making a plugin of files needs. */
export interface BuildResources extends BundleResources {
  /** Told of each link in a plugin's folder that leads back to where it lies; it is passed over. */
  readonly onCircle: (circle: Circle) => void
}

/** The files that make up a plugin, as far as they are known without bundling it. */
export function ownFiles(
  { folder, entry }: Pick<PluginSource, 'folder' | 'entry'>,
  { onCircle }: Pick<BuildResources, 'onCircle'>,
): Promise<string[]> {
  return folder === undefined ? Promise.resolve([entry]) : filesBelow(folder, onCircle)
}

/** @throws GatewayError `GW_PLUGIN_NOT_LOADED` with file and line. */
export async function buildPlugin(source: PluginSource, resources: BuildResources): Promise<PluginBuild> {
  const built = await bundle(source, resources)
  const own = await ownFiles(source, resources)
  const root = source.folder ?? path.dirname(source.entry)
  const codeHash = codeHashOf(root, built.code)
  const hash = await hashOf(root, codeHash, own)
  return { source, bundle: built, codeHash, hash, files: [...new Set([...own, ...built.inputs])].sort() }
}

/**
 * Runs what was bundled, and makes a plugin of what it exports.
 *
 * @throws GatewayError `GW_PLUGIN_NOT_LOADED` with file and line.
 */
export function instantiate({ source, bundle }: PluginBuild, hosts: HostModules): Plugin {
  let step = 'it threw while it was loaded'
  try {
    const exported = evaluate(bundle, hosts.loaded)
    step = 'its constructor threw'
    return pluginOf(source.path, exported)
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'GW_PLUGIN_NOT_LOADED') throw error
    throw notLoaded(source.path, `${step}: ${errorMessage(error)}${inBrackets(placeIn(bundle, error))}`, error)
  }
}

/**
 * The plugin that a module exports: what `definePlugin` returns or takes, or a class that extends `Plugin`.
 *
 * @throws GatewayError `GW_PLUGIN_NOT_LOADED` when it is neither.
 */
export function pluginOf(name: string, exported: unknown): Plugin {
  const value = defaultOf(exported)
  const plugin = isPluginClass(value) ? new value() : toPlugin(value)
  if (plugin !== undefined) return plugin
  const others = isObject(exported) ? Object.keys(exported).filter((key) => key !== 'default') : []
  const seen = others.length === 0 ? '' : `; it exports ${others.join(', ')}`
  const found = value === undefined ? 'nothing' : `something else (${typeof value})`
  throw notLoaded(
    name,
    `the default export must be what definePlugin returns or takes, or a class that extends Plugin; it is ${found}${seen}`,
  )
}

/** Why the registry refused a plugin, with the place in the plugin's files where what caused it was thrown. */
export function refusal({ source, bundle }: PluginBuild, error: GatewayError): GatewayError {
  const place = placeIn(bundle, error.cause)
  const isKnown = place === undefined || error.message.includes(place)
  return notLoaded(source.path, `${error.message}${isKnown ? '' : inBrackets(place)}`, error)
}

/** A CommonJS module may be the plugin itself, or carry the default export of a default export. */
function defaultOf(exported: unknown): unknown {
  if (!isObject(exported) || exported instanceof Plugin || !('default' in exported)) {
    return isObject(exported) && '__esModule' in exported ? undefined : exported
  }
  const value = exported['default']
  return isObject(value) && !(value instanceof Plugin) && value['default'] !== undefined ? value['default'] : value
}

function isPluginClass(value: unknown): value is new () => Plugin {
  return typeof value === 'function' && (value as { prototype?: unknown }).prototype instanceof Plugin
}

function inBrackets(text: string | undefined): string {
  return text === undefined ? '' : ` (${text})`
}
