import { arch, cpus, platform, totalmem } from 'node:os'

/** What the figures were measured on, without names of hosts or paths. */
export const describeMachine = async (server) =>
  `${cpus().length} cores (${cpus()[0]?.model.trim() || 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GB, ${platform()} ${arch()}, ` +
  `Node ${process.versions.node}, ${await server.describe()} on loopback without persistence`
