import { GatewayError } from '../errors.ts'
import type { TextKind, TextValues } from '../util/read-text.ts'
import type { RedisOption } from './options.ts'

/** Variables by name; an empty one counts as not set, since Compose files and CI systems hand on empty ones. */
export type Environment = Readonly<Record<string, string | undefined>>

/** The variables that say where Redis is, by setting, and how each is read. */
export const REDIS_VARIABLES = {
  redisUrl: ['REDIS_URL', 'text'],
  redisHost: ['REDIS_HOST', 'text'],
  redisPort: ['REDIS_PORT', 'port'],
  redisDb: ['REDIS_DB', 'number'],
  redisUsername: ['REDIS_USERNAME', 'text'],
  redisPassword: ['REDIS_PASSWORD', 'text'],
  redisTls: ['REDIS_TLS', 'switch'],
  redisCluster: ['REDIS_CLUSTER', 'nodes'],
  redisSentinels: ['REDIS_SENTINELS', 'nodes'],
  redisSentinelName: ['REDIS_SENTINEL_NAME', 'text'],
  redisSentinelUsername: ['REDIS_SENTINEL_USERNAME', 'text'],
  redisSentinelPassword: ['REDIS_SENTINEL_PASSWORD', 'text'],
} as const satisfies Record<string, readonly [variable: string, kind: TextKind]>

type Variables = typeof REDIS_VARIABLES

/** What was said of where Redis is. */
export type RedisSettings = { readonly [Setting in keyof Variables]?: TextValues[Variables[Setting][1]] }

/** The settings that name a server, the strongest first. */
export const REDIS_FORMS = ['redisCluster', 'redisSentinels', 'redisUrl', 'redisHost'] as const
export type RedisForm = (typeof REDIS_FORMS)[number]

/**
 * The option that settings stand for; undefined: they name no server. A URL says all but TLS, and a user name and a
 * password where it has none.
 *
 * @param form - Which of the servers named is meant. Default the strongest.
 */
export function toRedisOption(settings: RedisSettings, form = strongestForm(settings)): RedisOption | undefined {
  const { redisHost: host, redisPort: port, redisDb: db } = settings
  const secrets = { username: settings.redisUsername, password: settings.redisPassword, tls: settings.redisTls }
  switch (form) {
    case 'redisCluster':
      return { cluster: settings.redisCluster ?? [], ...secrets }
    case 'redisSentinels':
      return { ...sentinelsOf(settings), db, ...secrets }
    case 'redisUrl':
      return completedUrl(settings)
    default: {
      const endpoint = { host, port, db, ...secrets }
      return Object.values(endpoint).some((value) => value !== undefined) ? endpoint : undefined
    }
  }
}

/** The setting that a field of the option came from: `redis.port` is of `redisPort`, a bare `redis` of `redisUrl`. */
export function settingOf(field: string): string {
  const [, piece = 'url'] = field.split('.')
  return piece === 'name' ? 'redisSentinelName' : `redis${piece.charAt(0).toUpperCase()}${piece.slice(1)}`
}

function strongestForm(settings: RedisSettings): RedisForm | undefined {
  return REDIS_FORMS.find((form) => settings[form] !== undefined)
}

function sentinelsOf(settings: RedisSettings) {
  const { redisSentinels: sentinels = [], redisSentinelName: name } = settings
  if (name === undefined) {
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'redis.name', reason: 'Sentinels need it' })
  }
  const { redisSentinelUsername: sentinelUsername, redisSentinelPassword: sentinelPassword } = settings
  return { sentinels, name, sentinelUsername, sentinelPassword }
}

function completedUrl({ redisUrl = '', redisUsername, redisPassword, redisTls }: RedisSettings): string {
  // One that cannot be read is left as it is: `resolveRedisOption` says what is wrong with it.
  if (!URL.canParse(redisUrl)) return redisUrl
  const url = new URL(redisUrl)
  // Without a host a URL takes no user name and no password.
  if (url.hostname === '') url.hostname = '127.0.0.1'
  if (url.username === '' && redisUsername !== undefined) url.username = encodeURIComponent(redisUsername)
  if (url.password === '' && redisPassword !== undefined) url.password = encodeURIComponent(redisPassword)
  return redisTls ? url.href.replace(/^redis:/, 'rediss:') : url.href
}
