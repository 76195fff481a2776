import { readFileSync } from 'node:fs'
import type { LoadFnOutput, LoadHook, ResolveFnOutput, ResolveHook, ResolveHookContext } from 'node:module'

/*
 * Hooks into Node's loading of modules. They stand in front of those of tsx and do three things which tsx does not:
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

/** For `register`: Node runs it in a thread of its own. */
export const resolve: ResolveHook = async (specifier, context, nextResolve) =>
  judged(await nextResolve(...asked(specifier, context)), context)

/** For `register`, as {@link resolve}. */
export const load: LoadHook = async (url, context, nextLoad) => supplied(url, await nextLoad(url, context))

/** For `registerHooks`, which runs them where the module is loaded. Node 20 has only `register`, later ones warn of it. */
export const syncHooks = {
  resolve: (
    specifier: string,
    context: ResolveHookContext,
    nextResolve: (specifier: string, context: ResolveHookContext) => ResolveFnOutput,
  ): ResolveFnOutput => judged(nextResolve(...asked(specifier, context)), context),
  load: <Context>(
    url: string,
    context: Context,
    nextLoad: (url: string, context: Context) => LoadFnOutput,
  ): LoadFnOutput => supplied(url, nextLoad(url, context)),
}

/** What is asked for, and by whom. */
function asked(specifier: string, context: ResolveHookContext): [string, ResolveHookContext] {
  if (specifier.startsWith(FROM_SCHEME)) {
    const [parentURL, name = ''] = JSON.parse(decodeURIComponent(specifier.slice(FROM_SCHEME.length))) as string[]
    return [name, { ...context, parentURL }]
  }
  // An empty fragment changes nothing but that tsx does not recognize the importing module, whose named imports would
  // else lead it to CommonJS under a URL of its own invention.
  const parentURL = context.parentURL?.startsWith('file:') ? `${context.parentURL}#` : context.parentURL
  return [specifier, { ...context, parentURL }]
}

/** What is an ES module, whatever was made of it. Who calls `require`, which only `registerHooks` sees, wants none. */
function judged(resolved: ResolveFnOutput, { conditions }: ResolveHookContext): ResolveFnOutput {
  if (!resolved.format?.startsWith('commonjs') || conditions.includes('require') || !isModule(resolved.url))
    return resolved
  forced.add(resolved.url)
  return { ...resolved, format: 'module' }
}

/** The source of such a module, with what it misses of CommonJS. */
function supplied(url: string, loaded: LoadFnOutput): LoadFnOutput {
  if (!forced.has(url) || loaded.source === undefined) return loaded
  const source = typeof loaded.source === 'string' ? loaded.source : new TextDecoder().decode(loaded.source)
  const missing = COMMONJS_NAMES.filter((name) => uses(source, name) && !declares(source, name))
  if (missing.length === 0) return loaded
  // At the end, where it moves no line; an import is there before the first statement runs all the same.
  return { ...loaded, source: `${source}\nimport{${missing}}from${JSON.stringify(commonjsNames(url))};` }
}

/** TypeScript always is, JavaScript when it looks like one; packages are left as they are. */
function isModule(url: string): boolean {
  if (!url.startsWith('file:') || url.includes('/node_modules/')) return false
  if (/\.tsx?(?:\?|$)/.test(url)) return true
  return /\.jsx?(?:\?|$)/.test(url) && ES_SYNTAX.test(readFileSync(new URL(url), 'utf8'))
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
