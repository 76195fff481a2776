export { LocalServerError, type LocalServerOptions, type ServerSource } from './servers/local-server.ts'
export { type LocalPostgres, startLocalPostgres } from './servers/postgres.ts'
export { type LocalRedis, startLocalRedis } from './servers/redis.ts'
export { type WaitForOptions, waitFor } from './wait-for.ts'
