import { arch, cpus, platform, totalmem } from 'node:os'
import { versionOf } from './redis-stats.mjs'

/** What the figures were measured on, without names of hosts or paths. */
export const describeMachine = async (redis) =>
  `${cpus().length} cores (${cpus()[0]?.model.trim() || 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GB, ${platform()} ${arch()}, ` +
  `Node ${process.versions.node}, Redis ${await versionOf(redis)} on loopback without persistence`
