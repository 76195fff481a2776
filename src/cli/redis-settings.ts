import { GatewayError } from '../errors.ts'
import type { RedisOption } from '../redis/options.ts'
import { REDIS_FORMS, type RedisForm, toRedisOption } from '../redis/variables.ts'
import type { Settings } from './settings.ts'

/** The pieces of a URL that have a setting of their own. */
const PIECES = ['redisPort', 'redisDb'] as const
const MOST_PORT = 65_535

/**
 * Which Redis the settings mean; undefined: none was given.
 *
 * A server named by a flag beats one named by the environment. A URL says everything but for two cases: a user name and
 * a password fill in what it leaves open, and a flag replaces its piece of a URL from the environment.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` when flags contradict each other.
 */
export function redisOption(settings: Settings): RedisOption | undefined {
  const { values } = settings
  const form = chooseForm(settings)
  if (form === 'redisSentinels' && values.redisSentinelName === undefined) {
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: '--redis-sentinel-name', reason: 'Sentinels need it' })
  }
  if (form !== 'redisUrl') return toRedisOption(values, form)
  // The variable does not encrypt what a flag says in full.
  const redisTls = isByFlag(settings, 'redisUrl') ? undefined : values.redisTls
  return toRedisOption({ ...values, redisUrl: changedUrl(settings), redisTls }, form)
}

function chooseForm(settings: Settings): RedisForm | undefined {
  const byFlag = REDIS_FORMS.filter((form) => isByFlag(settings, form))
  const [form] = byFlag
  if (form === undefined) return REDIS_FORMS.find((candidate) => settings.sources.has(candidate))
  const rivals = form === 'redisHost' ? [] : [...byFlag.slice(1), ...(form === 'redisUrl' ? PIECES : [])]
  const rival = rivals.find((candidate) => isByFlag(settings, candidate))
  if (rival === undefined) return form
  const field = `${settings.sources.get(form)?.name} and ${settings.sources.get(rival)?.name}`
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, reason: 'only one of the two can be given' })
}

/** The URL with what flags say in place of its pieces; only a flag gives up the encryption of a URL. */
function changedUrl(settings: Settings): string {
  const { redisUrl = '', redisPort, redisDb, redisTls } = settings.values
  // One that cannot be read is left as it is: the library says what is wrong with it.
  if (!URL.canParse(redisUrl)) return redisUrl
  const url = new URL(redisUrl)
  if (isByFlag(settings, 'redisPort')) url.port = String(checkedPort(redisPort))
  if (isByFlag(settings, 'redisDb')) url.pathname = `/${redisDb}`
  if (!isByFlag(settings, 'redisTls')) return url.href
  return url.href.replace(/^rediss?:/, redisTls ? 'rediss:' : 'redis:')
}

/** A URL keeps its own port when it is given one that is none. */
function checkedPort(value: number | undefined): number {
  if (value !== undefined && Number.isInteger(value) && value >= 1 && value <= MOST_PORT) return value
  const reason = `must be a whole number from 1 to ${MOST_PORT}`
  throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'redis.port', value, reason })
}

function isByFlag({ sources }: Settings, option: string): boolean {
  return sources.get(option)?.kind === 'flag'
}
