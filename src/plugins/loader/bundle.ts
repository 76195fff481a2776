import path from 'node:path'
import type { BuildFailure, BuildOptions, Message, Metafile } from 'esbuild'
import { errorMessage } from '../../errors.ts'
import { HOST_SPACE, hostRule, OWN_PLACE, ownPlaceRule } from './bundle-rules.ts'
import type { Compiler } from './compiler.ts'
import type { HostModules } from './host-modules.ts'
import { notLoaded, type PluginSource } from './plugin-source.ts'

/** Texts that may be imported, as strings; JSON and code go without saying. */
const TEXTS = ['.txt', '.md', '.html', '.prompt', '.hbs', '.yaml', '.yml', '.csv', '.sql']

/** A plugin in one piece. */
export interface Bundle {
  /** The path under which it is run; nothing lies there. */
  readonly file: string
  /** CommonJS, since an ES module would stay in memory for ever once it was imported. */
  readonly code: string
  /** Source map, as JSON; its sources are relative to `file`. */
  readonly map: string
  /** Absolute paths of the files it was made of, packages left out. */
  readonly inputs: readonly string[]
}

/** What bundling needs. */
export interface BundleResources {
  readonly hosts: HostModules
  readonly compiler: Compiler
}

/**
 * Makes one piece of a plugin, its imports and its packages.
 *
 * @throws GatewayError `GW_PLUGIN_NOT_LOADED` with file and line.
 */
export async function bundle(source: PluginSource, { hosts, compiler }: BundleResources): Promise<Bundle> {
  const folder = path.dirname(source.entry)
  const file = `${source.entry}.bundle.cjs`
  try {
    const { outputFiles, metafile } = await compiler.build(optionsFor(source, file, hosts))
    const text = (ending: string) => outputFiles.find(({ path: name }) => name.endsWith(ending))?.text ?? ''
    return { file, code: text('.cjs'), map: text('.map'), inputs: inputsOf(metafile, folder) }
  } catch (error) {
    throw notLoaded(source.path, isFailure(error) ? describe(error, folder) : errorMessage(error), error)
  }
}

function optionsFor(source: PluginSource, outfile: string, hosts: HostModules) {
  const folder = path.dirname(source.entry)
  return {
    ...{ entryPoints: [source.entry], outfile, absWorkingDir: folder, bundle: true, write: false, metafile: true },
    ...{ platform: 'node', format: 'cjs', target: 'node20', charset: 'utf8', logLevel: 'silent' },
    ...{ sourcemap: 'external', sourcesContent: false, external: [...source.external] },
    loader: Object.fromEntries(TEXTS.map((extension) => [extension, 'text' as const])),
    define: OWN_PLACE,
    plugins: [hostRule(hosts, [folder, source.folder ?? folder]), ownPlaceRule()],
  } as const satisfies BuildOptions
}

function inputsOf(metafile: Metafile, folder: string): string[] {
  const names = Object.keys(metafile.inputs)
  // A name with a colon is that of no file.
  const files = names.filter((name) => !/^[\w()-]{2,}:/.test(name)).map((name) => path.resolve(folder, name))
  return files.filter((file) => !file.includes(`${path.sep}node_modules${path.sep}`)).sort()
}

function isFailure(error: unknown): error is BuildFailure {
  return error instanceof Error && 'errors' in error && Array.isArray(error.errors) && error.errors.length > 0
}

/** The first error with its place, and how many others there are. */
function describe({ errors }: BuildFailure, folder: string): string {
  const [first] = errors
  const others = errors.length > 1 ? ` and ${errors.length - 1} more` : ''
  return first === undefined ? 'it cannot be bundled' : `${inWords(first)}${placeOf(first, folder)}${others}`
}

function inWords({ text, location }: Message): string {
  if (/^Top-level await/.test(text)) {
    return 'a plugin is bundled as CommonJS, where no await may stand at the top level: await in registerAgentConfigs or onWorkerStartup'
  }
  const said = text.replaceAll(`${HOST_SPACE}:`, '')
  const isSyntax = location?.lineText !== undefined && /^(?:Expected|Unexpected|Unterminated|Syntax error)/.test(text)
  return isSyntax ? `syntax error: ${said}` : said
}

function placeOf({ location }: Message, folder: string): string {
  if (location === null) return ''
  return ` (${path.resolve(folder, location.file)}:${location.line}:${location.column + 1})`
}
