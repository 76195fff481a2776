import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { errorMessage } from '../errors.ts'
import { placeOf } from '../util/stack-place.ts'
import { oneLine } from './failure.ts'

const CHECK_TIMEOUT_MS = 10_000

/** Why the user's module could not be imported, in one line with the place. */
export async function loadingFault(error: unknown, url: URL): Promise<string> {
  const message = errorMessage(error)
  // What tsx's compiler says; it counts columns from 0.
  const [, place, column, reason] = /^(.+:\d+):(\d+): ERROR: (.+)$/m.exec(message) ?? []
  if (place !== undefined) return `syntax error: ${reason} (${place}:${Number(column) + 1})`
  if (error instanceof SyntaxError) return syntaxFault(error, url)
  if (isNotFound(error)) return oneLine(message)
  return oneLine(`it threw while it was loaded: ${message}${inBrackets(placeOf(error))}`)
}

async function syntaxFault(error: SyntaxError, url: URL): Promise<string> {
  const place = headOf(error.stack ?? '') ?? headOf(await nodeCheck(url)) ?? fileURLToPath(url)
  const isModuleInCommonJs = /import statement outside a module|Unexpected token 'export'/.test(error.message)
  const hint = isModuleInCommonJs ? '; call it .mjs, or set "type": "module" in package.json' : ''
  const isLinking = /does not provide an export/.test(error.message)
  return oneLine(`${isLinking ? '' : 'syntax error: '}${error.message} (${place})${hint}`)
}

/** Node writes `file:line` above the stack of a syntax error that it knows the place of. */
function headOf(text: string): string | undefined {
  return /^(?:file:\/\/)?(\/.+:\d+)$/m.exec(text.split('\n    at ')[0] ?? '')?.[1]
}

/** What Node says of a file's syntax; an ES module's errors carry no place when they are caught. */
function nodeCheck(url: URL): Promise<string> {
  return new Promise((resolve) => {
    const args = ['--check', fileURLToPath(url)]
    execFile(process.execPath, args, { timeout: CHECK_TIMEOUT_MS }, (_error, _stdout, stderr) => resolve(stderr))
  })
}

function isNotFound(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND' || code === 'ERR_PACKAGE_PATH_NOT_EXPORTED'
}

function inBrackets(text: string | undefined): string {
  return text === undefined ? '' : ` (${text})`
}
