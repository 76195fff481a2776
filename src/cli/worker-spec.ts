import { existsSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { errorMessage, GatewayError } from '../errors.ts'
import type { ModuleLoader } from './module-loader.ts'

const LOADABLE = ['.ts', '.mts', '.tsx', '.js', '.mjs', '.cjs']

/** What `--worker-class` names: a module, and maybe one of its exports. */
export interface WorkerSpec {
  /** As it was given, for messages. */
  readonly text: string
  /** A path or the name of a package. */
  readonly module: string
  readonly exportName: string | undefined
}

/** Takes `file#Export` apart. A `#` that no name follows belongs to the path, as in `./C#/agent.ts`. */
export function parseWorkerSpec(text: string): WorkerSpec {
  const [, module = text, exportName] = /^(.+)#([\p{ID_Start}$_][\p{ID_Continue}$]*)$/u.exec(text) ?? []
  return { text, module, exportName }
}

/** The error that says why a spec leads to no worker. */
export function notLoaded({ text }: WorkerSpec, reason: string, cause?: unknown): GatewayError {
  return new GatewayError('GW_WORKER_NOT_LOADED', { spec: text, reason }, { cause })
}

/**
 * The URL of the module that is meant: a file, else a package that is installed in or above `folder`. As in Node, what begins
 * with `.` or `/` is a file and nothing else; of other names only that of a file of code goes before a package, so that a
 * folder is in nobody's way.
 *
 * @throws GatewayError `GW_WORKER_NOT_LOADED` when there is neither.
 */
export function locateWorker(spec: WorkerSpec, folder: string, loader: ModuleLoader): URL {
  const { module } = spec
  const file = pathOf(spec, folder)
  const isPath = /^(?:file:|\.{1,2}(?:[/\\]|$))/.test(module) || path.isAbsolute(module)
  if (isPath || isCodeFile(file)) {
    checkFile(spec, file)
    return pathToFileURL(file)
  }
  const found = existsSync(file) ? `${describe(file)}, and ` : ''
  const nothing = `${found}there is neither such a file (${file}) nor such a package in or above ${folder}`
  // `C:\agent.ts` elsewhere than on Windows, or the address of something: Node would take it for a URL.
  if (URL.canParse(module)) throw notLoaded(spec, nothing)
  try {
    return loader.resolve(module, folder)
  } catch (cause) {
    const isMissing = errorMessage(cause).startsWith("Cannot find package '")
    throw notLoaded(spec, isMissing ? nothing : errorMessage(cause), cause)
  }
}

function pathOf(spec: WorkerSpec, folder: string): string {
  const { module } = spec
  if (!module.startsWith('file:')) return path.resolve(folder, module)
  try {
    return fileURLToPath(module)
  } catch (cause) {
    throw notLoaded(spec, errorMessage(cause), cause)
  }
}

function isCodeFile(file: string): boolean {
  return LOADABLE.includes(path.extname(file)) && existsSync(file) && statSync(file).isFile()
}

/** What keeps something from being loaded as a file. */
function describe(file: string): string {
  return statSync(file).isDirectory()
    ? `${file} is a folder; name a file in it`
    : `${file} is no code; only ${LOADABLE.join(' ')} can be loaded`
}

function checkFile(spec: WorkerSpec, file: string): void {
  if (!existsSync(file)) {
    const extension = LOADABLE.find((candidate) => existsSync(file + candidate))
    const hint = extension === undefined ? '' : `; did you mean ${spec.module}${extension}?`
    throw notLoaded(spec, `there is no such file (${file})${hint}`)
  }
  if (!isCodeFile(file)) throw notLoaded(spec, describe(file))
}
