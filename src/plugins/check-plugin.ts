import { z } from 'zod'
import type { AgentConfig } from '../agent/agent-config.ts'
import { HOOK_NAMES } from '../agent/hooks.ts'
import { INTERCEPTOR_NAMES } from '../agent/interceptor.ts'
import { definePlugin, Plugin, type PluginDefinition } from '../agent/plugin.ts'
import { excerpt, GatewayError } from '../errors.ts'
import { isObject } from '../protocol/json.ts'
import { MOST_TIMER_MS } from '../util/timer.ts'

const timerMs = z.number().int().min(1).max(MOST_TIMER_MS)
const callable = z.custom<unknown>((value) => typeof value === 'function', 'must be a function')
const functions = (names: readonly string[]) =>
  z.object(Object.fromEntries(names.map((name) => [name, callable.optional()])))

const manifest = z.strictObject({
  pluginId: z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, '1 to 64 of letters, digits, _ - . are allowed'),
  version: z.string().regex(/^[^\p{C}\s]{1,64}$/u, '1 to 64 printable characters without spaces are allowed'),
  name: z.string().max(256).optional(),
  description: z.string().max(4_096).optional(),
  priority: z.number().int().default(0),
})

const plugin = z.object({
  manifest,
  hookTimeoutMs: timerMs.default(5_000),
  startTimeoutMs: timerMs.default(30_000),
  registerAgentConfigs: callable.optional(),
  interceptors: functions(INTERCEPTOR_NAMES).strict().optional(),
  ...functions(HOOK_NAMES).shape,
})

const texts = z.record(z.string().min(1).max(256), z.string())
const configs = z.array(
  z.strictObject({
    agentId: z.string().regex(/^[^\p{C}]{1,128}$/u, '1 to 128 printable characters are allowed'),
    tools: z.custom<unknown>(isObject, 'must be an object of tools by name').optional(),
    prompts: texts.optional(),
    subAgents: z.array(z.string().min(1)).optional(),
    knowledge: z.array(z.unknown()).optional(),
    extra: z.record(z.string(), z.unknown()).optional(),
    onConflict: z.enum(['error', 'overwrite', 'skip']).optional(),
  }),
)

/** A plugin's manifest and times, checked, with their defaults. */
export interface CheckedPlugin {
  readonly manifest: Readonly<z.infer<typeof manifest>>
  readonly hookTimeoutMs: number
  readonly startTimeoutMs: number
}

/** The plugin that a value is, or that `definePlugin` makes of it if it is a plain object with a manifest. */
export function toPlugin(value: unknown): Plugin | undefined {
  if (value instanceof Plugin) return value
  return isDefinition(value) ? definePlugin(value) : undefined
}

/** @throws GatewayError `GW_PLUGIN_REFUSED` that names the value, if it is no plugin. */
export function requirePlugin(value: unknown): Plugin {
  const plugin = toPlugin(value)
  if (plugin !== undefined) return plugin
  const reason = 'a plugin is what definePlugin({ … }) returns or takes, or extends Plugin'
  throw refusal(idOf(value), `${reason} (got ${excerpt(value)})`)
}

/** @throws GatewayError `GW_PLUGIN_REFUSED` that names the field and the value. */
export function checkPlugin(value: Plugin): CheckedPlugin {
  const parsed = plugin.safeParse(value)
  if (!parsed.success) throw refusal(idOf(value), firstIssue(parsed.error, value))
  const { manifest: checked, hookTimeoutMs, startTimeoutMs } = parsed.data
  return { manifest: checked, hookTimeoutMs, startTimeoutMs }
}

/** @throws GatewayError `GW_PLUGIN_REFUSED` that names the field and the value. */
export function checkConfigs(pluginId: string, value: unknown): readonly AgentConfig[] {
  const parsed = configs.safeParse(value ?? [])
  if (!parsed.success) throw refusal(pluginId, `registerAgentConfigs(): ${firstIssue(parsed.error, value)}`)
  return (value ?? []) as readonly AgentConfig[]
}

/** Names of functions of a plugin that look like hooks and are none: nobody would ever call them. */
export function unknownHooks(plugin: Plugin): string[] {
  const names = new Set<string>()
  for (let at: object | null = plugin; isOfPlugin(at); at = Object.getPrototypeOf(at)) {
    // A getter is not read: it may do anything.
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at)))
      if (typeof value === 'function' && looksLikeHook(name)) names.add(name)
  }
  return [...names]
}

function isOfPlugin(at: object | null): at is object {
  return at !== null && at !== Plugin.prototype && at !== Object.prototype
}

function looksLikeHook(name: string): boolean {
  const names: readonly string[] = HOOK_NAMES
  if (names.includes(name)) return false
  return /^on[A-Z]/.test(name) || names.some((hook) => hook.toLowerCase() === name.toLowerCase())
}

export function refusal(pluginId: string, reason: string, cause?: unknown): GatewayError {
  return new GatewayError('GW_PLUGIN_REFUSED', { pluginId, reason }, cause === undefined ? undefined : { cause })
}

/** True for a plain object, of whatever realm, that says who it is; all else about it is {@link checkPlugin}'s affair. */
function isDefinition(value: unknown): value is PluginDefinition {
  if (!isObject(value) || !isObject(value.manifest)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype !== null && Object.getPrototypeOf(prototype) === null
}

function idOf(value: unknown): string {
  const id = isObject(value) && isObject(value.manifest) ? value.manifest.pluginId : undefined
  return typeof id === 'string' ? id : '?'
}

/** `path: message (got value)`. */
function firstIssue({ issues: [issue] }: z.ZodError, value: unknown): string {
  if (issue === undefined) return 'not understood'
  const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path
  const given = path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value)
  return `${path.map(String).join('.') || 'the value'}: ${issue.message} (got ${excerpt(given)})`
}
