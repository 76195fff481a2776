import type { GatewayWorker } from '../agent/worker.ts'
import { errorMessage } from '../errors.ts'
import { isObject } from '../protocol/json.ts'
import { placeOf } from '../util/stack-place.ts'
import { extendsWorker, isWorkerClass } from '../worker/options.ts'
import { loadingFault } from './loading-fault.ts'
import type { ModuleLoader } from './module-loader.ts'
import { notLoaded, type WorkerSpec } from './worker-spec.ts'

type WorkerClass = new () => GatewayWorker

/**
 * Imports the module and makes the worker that the spec names.
 *
 * @throws GatewayError `GW_WORKER_NOT_LOADED` that says why not, and which worker classes there are instead.
 */
export async function loadWorker(spec: WorkerSpec, url: URL, loader: ModuleLoader): Promise<GatewayWorker> {
  let namespace: Record<string, unknown>
  try {
    namespace = await loader.import(url)
  } catch (error) {
    throw notLoaded(spec, await loadingFault(error, url), error)
  }
  const workerClass = pickWorkerClass(spec, exportsOf(namespace))
  try {
    return new workerClass()
  } catch (error) {
    const place = placeOf(error)
    const reason = `the constructor of ${workerClass.name} threw: ${errorMessage(error)}`
    throw notLoaded(spec, place === undefined ? reason : `${reason} (${place})`, error)
  }
}

function pickWorkerClass(spec: WorkerSpec, exports: ReadonlyMap<string, unknown>): WorkerClass {
  const { exportName } = spec
  const extending = [...exports].flatMap(([name, value]) => (extendsWorker(value) ? [{ name, value }] : []))
  const whole = extending.filter(({ value }) => isWorkerClass(value))
  const classes = whole.length === 0 ? extending : whole
  const known = classes.length === 0 ? 'it has no worker class at all' : `worker classes in it: ${names(classes)}`
  if (exportName !== undefined) {
    if (!exports.has(exportName)) throw notLoaded(spec, `there is no export '${exportName}'; ${known}`)
    const chosen = extending.find(({ name }) => name === exportName)
    if (chosen !== undefined) return chosen.value
    throw notLoaded(spec, `export '${exportName}' is no class that extends GatewayWorker; ${known}`)
  }
  const distinct = new Set(classes.map(({ value }) => value))
  const chosen = classes.find(({ name }) => name === 'default') ?? (distinct.size === 1 ? classes[0] : undefined)
  if (chosen !== undefined) return chosen.value
  if (distinct.size > 1)
    throw notLoaded(spec, `several worker classes are exported, add one as #Name: ${names(classes)}`)
  const others = exports.size === 0 ? 'nothing is exported' : `exported: ${[...exports.keys()].join(', ')}`
  throw notLoaded(spec, `no class that extends GatewayWorker is exported (${others})`)
}

function names(classes: readonly { readonly name: string }[]): string {
  return classes.map(({ name }) => name).join(', ')
}

/** The exports by name. Those of a CommonJS module may lie in its default export only. */
function exportsOf(namespace: Record<string, unknown>): Map<string, unknown> {
  const { default: inner, ...named } = namespace
  delete named['module.exports']
  if (isObject(inner)) return new Map(Object.entries({ ...inner, ...named }))
  return new Map(Object.entries(inner === undefined ? named : { ...named, default: inner }))
}
