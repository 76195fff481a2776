import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { type AgentContract, requireContract } from '../agent/contract.ts'
import type { GatewayWorker } from '../agent/worker.ts'
import { GatewayError } from '../errors.ts'
import { checkCapability } from '../protocol/ids.ts'
import type { WorkerIdentity } from '../store/presence.ts'
import { VERSION } from '../version.ts'
import { pidSpace } from './kernel.ts'
import { type ResolvedWorkerOptions, versionsOf } from './options.ts'

/** What a worker tells of itself; each process that bears its id is another incarnation. */
export function identify(options: ResolvedWorkerOptions, capabilities: readonly string[]): WorkerIdentity {
  const { workerId, maxConcurrency, leaseMs } = options
  const agentVersions = versionsOf(options)
  const incarnation = randomBytes(12).toString('hex')
  const home = { host: hostname(), pid: process.pid, pidSpace: pidSpace(), incarnation }
  return { workerId, maxConcurrency, capabilities, leaseMs, version: VERSION, agentVersions, ...home }
}

/**
 * What the agent says it can do: names, and the contracts among them.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT` for a bad name, or if there is none.
 */
export function readCapabilities(worker: GatewayWorker): {
  names: readonly string[]
  contracts: ReadonlyMap<string, AgentContract>
} {
  const contracts = new Map<string, AgentContract>()
  const names = new Set<string>()
  const given: unknown = worker.getCapabilities?.()
  if (!Array.isArray(given)) {
    const reason = 'must be an array of names and contracts'
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'getCapabilities()', value: given, reason })
  }
  for (const capability of given as readonly (string | AgentContract)[]) {
    if (typeof capability === 'string') {
      names.add(checkCapability('capability', capability))
    } else {
      names.add(checkCapability('capability', capability?.agentType ?? capability))
      requireContract('capability', capability)
      contracts.set(capability.agentType, capability)
    }
  }
  if (names.size > 0) return { names: Object.freeze([...names]), contracts }
  throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'getCapabilities()', reason: 'at least one must be named' })
}
