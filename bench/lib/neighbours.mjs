import { readFile } from 'node:fs/promises'

const TICKS_PER_SECOND = 100

/** Busy and total ticks of the whole machine (time stolen by the host counts as busy). */
const machineTicks = async () => {
  const [line] = (await readFile('/proc/stat', 'utf8')).split('\n')
  const [user, nice, system, idle, iowait, irq, softirq, steal] = line.trim().split(/\s+/).slice(1).map(Number)
  const busy = user + nice + system + irq + softirq + steal
  return { busy, total: busy + idle + iowait }
}

/** Ticks of this process and of its children that have ended. */
const ownTicks = async () => {
  const text = await readFile('/proc/self/stat', 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0)
}

const serverTicks = async (servers) => {
  const micros = await Promise.all(servers.map((server) => server.cpuMicros()))
  return (micros.reduce((sum, each) => sum + each, 0) / 1e6) * TICKS_PER_SECOND
}

const look = async (servers) => {
  const [machine, own, theirs] = await Promise.all([machineTicks(), ownTicks(), serverTicks(servers)])
  return { ...machine, ours: own + theirs }
}

/**
 * Measures how much of the machine others used meanwhile, from 0 to 1; undefined where the system does not tell. Children
 * must have ended before the returned function is called.
 */
export const startNeighbourMeter = async (servers) => {
  if (process.platform !== 'linux') return async () => undefined
  const before = await look(servers)
  return async () => {
    const after = await look(servers)
    const foreign = after.busy - before.busy - (after.ours - before.ours)
    return Math.max(0, foreign / (after.total - before.total))
  }
}
