import type { Cluster, ClusterNode, ClusterOptions, RedisOptions as IoRedisOptions, Redis } from 'ioredis'
import { z } from 'zod'
import { GatewayError } from '../errors.ts'

/** A live ioredis client of the caller's; it is duplicated, never used for commands and never closed by this library. */
export type RedisInstance = Redis | Cluster

const endpoint = {
  host: z.string().min(1).optional(),
  port: z.number().int().min(1).max(65535).optional(),
  db: z.number().int().min(0).optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  tls: z.union([z.boolean(), z.looseObject({})]).optional(),
}
const node = z.strictObject({ host: z.string().min(1), port: z.number().int().min(1).max(65535) })
const secrets = { username: endpoint.username, password: endpoint.password, tls: endpoint.tls }

const standaloneSchema = z.strictObject(endpoint)
const sentinelSchema = z.strictObject({
  sentinels: z.array(node).min(1),
  name: z.string().min(1),
  sentinelUsername: z.string().optional(),
  sentinelPassword: z.string().optional(),
  db: endpoint.db,
  ...secrets,
})
const clusterSchema = z.strictObject({ cluster: z.array(node).min(1), ...secrets })

/**
 * Where Redis is: a URL (`redis://`, `rediss://` for TLS), host and port, Sentinel, a Cluster's nodes, or an ioredis
 * client of your own.
 */
export type RedisOption =
  | string
  | z.infer<typeof standaloneSchema>
  | z.infer<typeof sentinelSchema>
  | z.infer<typeof clusterSchema>
  | RedisInstance

/** What {@link resolveRedisOption} makes of it: one form per kind of server. */
export type ResolvedRedis =
  | { readonly kind: 'standalone'; readonly target: string; readonly options: IoRedisOptions }
  | {
      readonly kind: 'cluster'
      readonly target: string
      readonly nodes: ClusterNode[]
      readonly options: ClusterOptions
    }
  | {
      readonly kind: 'instance'
      readonly target: string
      readonly instance: RedisInstance
      readonly isCluster: boolean
    }

export const DEFAULT_REDIS_URL = 'redis://127.0.0.1:6379/0'

/**
 * Checks a {@link RedisOption} once, at the border.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` that names the field; passwords are never part of the message.
 */
export function resolveRedisOption(option: RedisOption = DEFAULT_REDIS_URL): ResolvedRedis {
  if (typeof option === 'string') return fromUrl(option)
  if (typeof option === 'object' && option !== null) {
    if (isInstance(option)) return fromInstance(option)
    if ('sentinels' in option) return fromSentinel(parse(sentinelSchema, option))
    if ('cluster' in option) return fromCluster(parse(clusterSchema, option))
    return fromEndpoint(parse(standaloneSchema, option))
  }
  throw new GatewayError('GW_INVALID_ARGUMENT', {
    field: 'redis',
    value: option,
    reason: 'expected a URL or an object',
  })
}

function fromUrl(text: string): ResolvedRedis {
  // What is wrong with a URL is said without its parts or a cause: a password may stand in any of them.
  const invalid = (reason: string) => new GatewayError('GW_INVALID_ARGUMENT', { field: 'redis', reason })
  const malformed = 'expected a URL such as redis://localhost:6379/0'
  if (!URL.canParse(text)) throw invalid(malformed)
  const url = new URL(text)
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:') throw invalid('expected redis:// or rediss://')
  // `redis:6379`, meant as host and port, would be database 379 of this machine.
  if (!url.href.startsWith(`${url.protocol}//`)) throw invalid(malformed)
  if (url.port === '0') throw invalid('the port must be 1 to 65535')
  // `?db=3` would be passed over in silence, and what follows a bare # of a password is not the host.
  if (url.search !== '' || url.hash !== '') throw invalid('it can have no ? or #; in a password they are %3F and %23')
  const db = url.pathname.slice(1)
  if (!/^\d*$/.test(db)) throw invalid('the path must be a database number')
  const username = decoded(url.username)
  const password = decoded(url.password)
  if (username === null || password === null) throw invalid('user and password must be percent-encoded UTF-8')
  return fromEndpoint({
    host: url.hostname.replace(/^\[|\]$/g, '') || undefined,
    port: url.port === '' ? undefined : Number(url.port),
    db: db === '' ? undefined : Number(db),
    username: username || undefined,
    password: password || undefined,
    tls: url.protocol === 'rediss:' ? true : undefined,
  })
}

/** A percent-encoded text, or null if it is none. */
function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

function fromEndpoint(value: z.infer<typeof standaloneSchema>): ResolvedRedis {
  const { host = '127.0.0.1', port = 6379, db = 0, tls, ...rest } = value
  const options = { ...defined(rest), host, port, db, ...tlsOption(tls, host) }
  return { kind: 'standalone', target: `${host}:${port}/${db}`, options }
}

function fromSentinel(value: z.infer<typeof sentinelSchema>): ResolvedRedis {
  const { tls, ...rest } = value
  const options = { ...defined(rest), ...sentinelTls(tlsOption(tls)) }
  return { kind: 'standalone', target: `sentinel '${value.name}'`, options }
}

function fromCluster(value: z.infer<typeof clusterSchema>): ResolvedRedis {
  const { cluster, tls, ...rest } = value
  return {
    kind: 'cluster',
    target: `cluster ${cluster.map(({ host, port }) => `${host}:${port}`).join(',')}`,
    nodes: cluster,
    options: { redisOptions: { ...defined(rest), ...tlsOption(tls) } },
  }
}

function fromInstance(instance: RedisInstance): ResolvedRedis {
  if (instance.options.keyPrefix) {
    throw new GatewayError('GW_INVALID_ARGUMENT', {
      field: 'redis',
      value: instance.options.keyPrefix,
      reason: "an ioredis client with a keyPrefix of its own cannot be used, give this library's option keyPrefix",
    })
  }
  return { kind: 'instance', target: 'the given ioredis client', instance, isCluster: 'nodes' in instance }
}

function isInstance(option: object): option is RedisInstance {
  return 'duplicate' in option && typeof option.duplicate === 'function'
}

function tlsOption(tls: boolean | object | undefined, host?: string): { tls?: object } {
  if (tls === undefined || tls === false) return {}
  // Server name indication wants a name; an address is refused by node:tls.
  const servername = host !== undefined && !/^[\d.]+$|:/.test(host) ? { servername: host } : {}
  return { tls: tls === true ? servername : tls }
}

/** Without these ioredis would speak to both in the clear. A Sentinel speaks TLS where its master does, to all. */
function sentinelTls({ tls }: { tls?: object }): IoRedisOptions {
  return tls === undefined ? {} : { tls, sentinelTLS: tls, enableTLSForSentinelMode: true }
}

function defined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as T
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const field = ['redis', ...(issue?.path ?? [])].join('.')
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, reason: issue?.message ?? 'not understood' })
}
