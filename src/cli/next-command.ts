import type { AgentContract } from '../agent/contract.ts'
import { type JsonSchema, jsonSchemaOf } from '../agent/json-schema.ts'
import { isObject } from '../protocol/json.ts'
import { DEFAULT_REDIS_URL } from '../redis/options.ts'
import type { Settings } from './settings.ts'

/**
 * What to type in another terminal to try an agent.
 *
 * @param contract - Its contract, if it has one.
 * @param ownUrl - Of the Redis that was started for it, if one was.
 */
export function nextCommand(
  capability: string | undefined,
  contract: AgentContract | undefined,
  { values, sources }: Settings,
  ownUrl: string | undefined,
): string {
  const url = ownUrl ?? (sources.get('redisUrl')?.kind === 'flag' ? values.redisUrl : undefined)
  // The default goes without saying, and a password is not for the screen.
  const needsUrl = url !== undefined && url !== DEFAULT_REDIS_URL && !url.includes('@')
  const flags = [
    ...(needsUrl ? [`--redis-url ${url}`] : []),
    ...(sources.get('keyPrefix')?.kind === 'flag' ? [`--key-prefix ${values.keyPrefix}`] : []),
  ]
  return `Try in another terminal: ${['npx byclaw send', capability, sample(contract), ...flags].join(' ')}`
}

/** Something to say to it, as far as its contract tells: what is left to fill in is `…`. */
function sample(contract: AgentContract | undefined): string {
  const { type, properties, required } = (contract && inputOf(contract)) ?? {}
  if (type === 'array') return `'[…]' --data`
  if (type !== 'object') return '"Hello"'
  const names = Array.isArray(required) ? required : isObject(properties) ? Object.keys(properties) : []
  return `'{${names.map((name) => `${JSON.stringify(name)}: …`).join(', ')}}' --data`
}

function inputOf({ input }: AgentContract): JsonSchema | null {
  try {
    return jsonSchemaOf(input)
  } catch {
    // Some libraries throw for what JSON Schema cannot say.
    return null
  }
}
