import { readFile } from 'node:fs/promises'
import type { LoadHook, ResolveHook } from 'node:module'

/*
 * Hooks into Node's loading of modules, run by Node in a thread of their own. They stand in front of those of tsx and
 * do three things which tsx does not:
 *
 * - A file of the user's in TypeScript, or with `import` or `export`, is an ES module, whatever its package.json says. tsx
 *   would make it CommonJS there, and this library, which it imports, a second copy of itself.
 * - Such a file may use what CommonJS offers all the same (`__dirname`, `require`), since `tsc` would let it.
 * - `byclaw-from:` resolves a package from where the user stands.
 */

/** Scheme of a specifier together with the URL of the module from which it is meant, both as a JSON array. */
export const FROM_SCHEME = 'byclaw-from:'

const ES_SYNTAX = /^\s*(?:import\s*[\w{*'"]|export\s*[\w{*])/m
const COMMONJS_NAMES = ['__dirname', '__filename', 'require']

/** URLs of the files that are ES modules by our word only. */
const forced = new Set<string>()

export const resolve: ResolveHook = async (specifier, context, nextResolve) => {
  if (specifier.startsWith(FROM_SCHEME)) {
    const [parentURL, name = ''] = JSON.parse(decodeURIComponent(specifier.slice(FROM_SCHEME.length))) as string[]
    return nextResolve(name, { ...context, parentURL })
  }
  // An empty fragment changes nothing but that tsx does not recognize the importing module, whose named imports would
  // else lead it to CommonJS under a URL of its own invention.
  const parentURL = context.parentURL?.startsWith('file:') ? `${context.parentURL}#` : context.parentURL
  const resolved = await nextResolve(specifier, { ...context, parentURL })
  if (!resolved.format?.startsWith('commonjs') || !(await isModule(resolved.url))) return resolved
  forced.add(resolved.url)
  return { ...resolved, format: 'module' }
}

export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = await nextLoad(url, context)
  if (!forced.has(url) || loaded.source === undefined) return loaded
  const source = typeof loaded.source === 'string' ? loaded.source : new TextDecoder().decode(loaded.source)
  const missing = COMMONJS_NAMES.filter((name) => uses(source, name) && !declares(source, name))
  if (missing.length === 0) return loaded
  // At the end, where it moves no line; an import is there before the first statement runs all the same.
  return { ...loaded, source: `${source}\nimport{${missing}}from${JSON.stringify(commonjsNames(url))};` }
}

/** TypeScript always is, JavaScript when it looks like one; packages are left as they are. */
async function isModule(url: string): Promise<boolean> {
  if (!url.startsWith('file:') || url.includes('/node_modules/')) return false
  if (/\.tsx?(?:\?|$)/.test(url)) return true
  return /\.jsx?(?:\?|$)/.test(url) && ES_SYNTAX.test(await readFile(new URL(url), 'utf8'))
}

function uses(source: string, name: string): boolean {
  return new RegExp(`(?<![.\\w$])${name}\\b`).test(source)
}

function declares(source: string, name: string): boolean {
  return new RegExp(`\\b(?:const|let|var|function|as)\\s+${name}\\b|[{,]\\s*${name}\\s*[,}]`).test(source)
}

/** URL of a module that exports what a CommonJS module at `url` finds. */
function commonjsNames(url: string): string {
  const code = [
    "import{createRequire}from'node:module'",
    "import{dirname}from'node:path'",
    "import{fileURLToPath}from'node:url'",
    `export const __filename=fileURLToPath(${JSON.stringify(url.split('?')[0])})`,
    'export const __dirname=dirname(__filename)',
    'export const require=createRequire(__filename)',
  ].join('\n')
  return `data:text/javascript,${encodeURIComponent(code)}`
}
