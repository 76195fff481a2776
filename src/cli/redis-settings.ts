import { GatewayError } from '../errors.ts'
import type { RedisOption } from '../redis/options.ts'
import type { Settings } from './settings.ts'
import type { FlagValues } from './worker-flags.ts'

/** The ways to name a server, the strongest first. */
const FORMS = ['redisCluster', 'redisSentinels', 'redisUrl', 'redisHost'] as const

/** The pieces of a URL that have a setting of their own. */
const PIECES = ['redisPort', 'redisDb'] as const

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
  const secrets = { username: values.redisUsername, password: values.redisPassword, tls: values.redisTls }
  switch (chooseForm(settings)) {
    case 'redisCluster':
      return { cluster: values.redisCluster ?? [], ...secrets }
    case 'redisSentinels':
      return { ...sentinelOption(values), ...secrets }
    case 'redisUrl':
      return completedUrl(values.redisUrl ?? '', settings)
    default: {
      const endpoint = { host: values.redisHost, port: values.redisPort, db: values.redisDb, ...secrets }
      return Object.values(endpoint).some((value) => value !== undefined) ? endpoint : undefined
    }
  }
}

function chooseForm(settings: Settings): (typeof FORMS)[number] | undefined {
  const byFlag = FORMS.filter((form) => isByFlag(settings, form))
  const [form] = byFlag
  if (form === undefined) return FORMS.find((candidate) => settings.sources.has(candidate))
  const rivals = form === 'redisHost' ? [] : [...byFlag.slice(1), ...(form === 'redisUrl' ? PIECES : [])]
  const rival = rivals.find((candidate) => isByFlag(settings, candidate))
  if (rival === undefined) return form
  const field = `${settings.sources.get(form)?.name} and ${settings.sources.get(rival)?.name}`
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, reason: 'only one of the two can be given' })
}

function sentinelOption(values: FlagValues) {
  const { redisSentinelName: name } = values
  if (name === undefined) {
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: '--redis-sentinel-name', reason: 'Sentinels need it' })
  }
  return {
    sentinels: values.redisSentinels ?? [],
    name,
    sentinelUsername: values.redisSentinelUsername,
    sentinelPassword: values.redisSentinelPassword,
    db: values.redisDb,
  }
}

function completedUrl(text: string, settings: Settings): string {
  // One that cannot be read is left as it is: the library says what is wrong with it.
  if (!URL.canParse(text)) return text
  const { redisPort, redisDb, redisUsername, redisPassword } = settings.values
  const url = new URL(text)
  if (isByFlag(settings, 'redisPort')) url.port = String(redisPort)
  if (isByFlag(settings, 'redisDb')) url.pathname = `/${redisDb}`
  if (url.username === '' && redisUsername !== undefined) url.username = encodeURIComponent(redisUsername)
  if (url.password === '' && redisPassword !== undefined) url.password = encodeURIComponent(redisPassword)
  return withTls(url.href, settings)
}

/** The variable does not encrypt what a flag says in full, and only a flag gives up the encryption of a URL. */
function withTls(url: string, settings: Settings): string {
  const { redisTls } = settings.values
  if (isByFlag(settings, 'redisTls')) return url.replace(/^rediss?:/, redisTls ? 'rediss:' : 'redis:')
  return redisTls && !isByFlag(settings, 'redisUrl') ? url.replace(/^redis:/, 'rediss:') : url
}

function isByFlag({ sources }: Settings, option: string): boolean {
  return sources.get(option)?.kind === 'flag'
}
