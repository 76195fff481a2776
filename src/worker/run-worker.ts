import { type RunWorkerOptions, resolveWorkerOptions } from './options.ts'
import { stopOnSignals } from './signals.ts'
import { type RunningWorker, WorkerRuntime } from './worker-runtime.ts'

/**
 * Starts a worker; resolves once it consumes.
 *
 * @throws GatewayError `GW_INVALID_ARGUMENT`, `GW_REDIS_UNREACHABLE`, `GW_REDIS_UNSUPPORTED` or `GW_WORKER_ID_TAKEN`, and
 * `GW_SHUTDOWN` when a signal came before the start, which did not come to its end; nothing stays open then.
 */
export async function runWorker(options: RunWorkerOptions): Promise<RunningWorker> {
  const resolved = resolveWorkerOptions(options)
  const runtime = new WorkerRuntime(resolved)
  // Before the start: a signal that comes in the middle of it stops what has been started.
  if (resolved.handleSignals) stopOnSignals(runtime, resolved.logger)
  await runtime.start()
  return runtime
}
