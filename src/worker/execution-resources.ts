import { AsyncLocalStorage } from 'node:async_hooks'
import type { AgentContract } from '../agent/contract.ts'
import { resolveRetry } from '../agent/retry.ts'
import type { DurableResources, DurableTask } from '../context/durable/durable-task.ts'
import type { Scope } from '../context/durable/scope.ts'
import type { WaitDesk } from '../context/durable/wait-desk.ts'
import type { Toolbox } from '../context/toolbox.ts'
import { Canceller } from '../dispatch/canceller.ts'
import type { GatewayError } from '../errors.ts'
import type { Aftercare } from '../execution/aftercare.ts'
import { Conclusion } from '../execution/conclusion.ts'
import type { ExecutionResources } from '../execution/execution.ts'
import type { HistoryKeeper } from '../history/keeper.ts'
import type { Logger } from '../logger.ts'
import type { PluginRegistry } from '../plugins/registry.ts'
import type { ResolvedWorkerOptions } from './options.ts'
import type { WorkerStores } from './stores.ts'
import type { WorkspaceHome } from './workspace-home.ts'

/** What the attempts of a worker share. */
export interface ExecutionParts {
  readonly options: ResolvedWorkerOptions
  readonly contracts: ReadonlyMap<string, AgentContract>
  readonly stores: WorkerStores
  readonly aftercare: Aftercare
  readonly desk: WaitDesk<DurableTask>
  readonly toolbox: Toolbox
  readonly plugins: PluginRegistry
  readonly history: HistoryKeeper | undefined
  readonly workspaces: WorkspaceHome
  /** See `Conclusion`. */
  readonly onGivenUp: (reason: GatewayError | undefined) => void
  readonly logger: Logger
}

export function executionResources(parts: ExecutionParts): ExecutionResources {
  const { options, stores, contracts, aftercare, toolbox, plugins, history, workspaces, onGivenUp, logger } = parts
  const { workerId, worker, maxPayloadBytes, taskTimeoutMs, cancelGraceMs } = options
  const { coalesceMs, retry, onNonDeterminism } = options
  const { presence, writer, records } = stores
  const retryOf = (agentType: string) => resolveRetry(retry?.capabilities?.[agentType], retry)
  return {
    ...{ workerId, worker, maxPayloadBytes, taskTimeoutMs, contracts, presence, writer, logger },
    ...{ durable: durableResources(parts), onNonDeterminism, coalesceMs, cancelGraceMs },
    toolbox,
    plugins,
    history,
    /** Asked for by the first task that has use for it. */
    get workspaceDir() {
      return workspaces.path
    },
    conclusion: new Conclusion({ records, aftercare, retryOf, onGivenUp, logger }),
  }
}

function durableResources({ options, stores, desk, logger }: ExecutionParts): DurableResources {
  const { suspendAfterMs, maxPayloadBytes, streamTtlMs, streamMaxLength } = options
  const { journals, agenda, inboxes, reader } = stores
  return {
    ...{ journals, agenda, inboxes, suspendAfterMs, maxPayloadBytes, streamTtlMs, streamMaxLength },
    ...{ desk, scopes: new AsyncLocalStorage<Scope>() },
    canceller: new Canceller({ ...stores, logger }),
    reader,
  }
}
