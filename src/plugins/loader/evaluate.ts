import Module, { SourceMap } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { placeOf } from '../../util/stack-place.ts'
import type { Bundle } from './bundle.ts'

/** What Node's class for CommonJS modules has besides what its types tell. */
interface CommonJsModule {
  exports: unknown
  filename: string
  paths: string[]
  hosts: ReadonlyMap<string, object>
  _compile(code: string, filename: string): void
}

/**
 * Node forgets a source map when the module record it came with is collected. A closure that names the record makes every
 * function of the bundle hold it, called or not.
 */
const KEEPS_ITS_MAP = '\n;() => module'
/** Put together when it is needed: in one piece it would name the source map of this very file to whoever reads that. */
const MAP_COMMENT = ['//# source', 'MappingURL=data:application/json;base64,'].join('')

/**
 * Runs a bundle and answers what it exports. The module is in no cache: when nobody uses what it exports any more, all of it
 * is collected. With source maps switched on in the process (`--enable-source-maps`), stacks show the files as written.
 */
export function evaluate({ file, code, map }: Bundle, hosts: ReadonlyMap<string, object>): unknown {
  const module = new Module(file) as unknown as CommonJsModule
  const folder = path.dirname(file)
  module.filename = file
  module.paths = (Module as unknown as { _nodeModulePaths(from: string): string[] })._nodeModulePaths(folder)
  module.hosts = hosts
  const inline = Buffer.from(map).toString('base64')
  module._compile(`${code}${KEEPS_ITS_MAP}\n${MAP_COMMENT}${inline}`, file)
  return module.exports
}

/** Where in the plugin's own files an error was thrown, as `file:line:column`; undefined if not there. */
export function placeIn({ file, map }: Bundle, error: unknown): string | undefined {
  const stack = error instanceof Error ? (error.stack ?? '') : ''
  const [, line, column] = /^(\d+):(\d+)/.exec(stack.split(`${file}:`)[1] ?? '') ?? []
  if (line === undefined || column === undefined) return placeOf(error)
  const found = new SourceMap(JSON.parse(map)).findEntry(Number(line) - 1, Number(column) - 1)
  if (!('originalSource' in found)) return undefined
  const { originalSource, originalLine, originalColumn } = found
  const source = originalSource.startsWith('file:') ? fileURLToPath(originalSource) : originalSource
  return `${path.resolve(path.dirname(file), source)}:${originalLine + 1}:${originalColumn + 1}`
}
