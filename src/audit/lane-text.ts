import { type LaneName, workerOfLane } from '../redis/keys.ts'

/** A lane in words. */
export function laneText(capability: string, lane: LaneName): string {
  if (lane === 'normal') return `'${capability}'`
  const workerId = workerOfLane(lane)
  return workerId === undefined ? `'${capability}' (${lane})` : `'${capability}' (only for worker '${workerId}')`
}
