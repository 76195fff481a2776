import { GatewayError } from '../errors.ts'
import { readText } from '../util/read-text.ts'
import { type RedisOption, type ResolvedRedis, resolveRedisOption } from './options.ts'
import { type Environment, REDIS_VARIABLES, type RedisSettings, settingOf, toRedisOption } from './variables.ts'

/**
 * Where Redis is: as the option says; without one as the environment says; else on this machine. The environment is read
 * here and nowhere else in the library.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the option's field, or the variable.
 */
export function resolveRedis(option: RedisOption | undefined, env: Environment = process.env): ResolvedRedis {
  if (option !== undefined) return resolveRedisOption(option)
  const settings = readVariables(env)
  try {
    return resolveRedisOption(toRedisOption(settings))
  } catch (error) {
    throw nameVariable(error)
  }
}

function readVariables(env: Environment): RedisSettings {
  const given = Object.entries(REDIS_VARIABLES).flatMap(([setting, [variable, kind]]) => {
    const text = env[variable]
    return text ? [[setting, readText(kind, text, variable)] as const] : []
  })
  return Object.fromEntries(given)
}

/** The same error with the name of the variable in place of the option's field. */
function nameVariable(error: unknown): unknown {
  if (!(error instanceof GatewayError)) return error
  const setting = settingOf(String(error.details.field))
  const [, [field] = []] = Object.entries(REDIS_VARIABLES).find(([name]) => name === setting) ?? []
  return field === undefined ? error : new GatewayError(error.code, { ...error.details, field }, { cause: error })
}
