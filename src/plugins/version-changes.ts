import type { PluginVersionChange } from '../agent/agent-config.ts'
import { isObject, parseJson } from '../protocol/json.ts'

/** The versions of no plugins at all. */
export const NO_PLUGINS = '{}'

/** What has changed between two sets of versions, each as JSON by id. */
export function versionChanges(before: string, now: string): readonly PluginVersionChange[] {
  if (before === now) return []
  const old = toVersions(before)
  const fresh = toVersions(now)
  return [...new Set([...old.keys(), ...fresh.keys()])]
    .map((pluginId) => ({ pluginId, from: old.get(pluginId) ?? null, to: fresh.get(pluginId) ?? null }))
    .filter(({ from, to }) => from !== to)
}

function toVersions(text: string): Map<string, string> {
  const json = parseJson(text)
  const entries = json.ok && isObject(json.value) ? Object.entries(json.value) : []
  return new Map(entries.map(([pluginId, version]) => [pluginId, String(version)]))
}
