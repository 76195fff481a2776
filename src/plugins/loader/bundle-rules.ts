import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Plugin as EsbuildPlugin, Loader } from 'esbuild'
import { errorMessage } from '../../errors.ts'
import type { HostModules } from './host-modules.ts'

/** Where esbuild finds what the worker shares. */
export const HOST_SPACE = 'byclaw-host'

/** What a module of each kind finds about its own place, and how that is called in the bundle. */
export const OWN_PLACE = {
  'import.meta.url': '__byclawModuleUrl',
  'import.meta.filename': '__byclawModuleFile',
  'import.meta.dirname': '__byclawModuleFolder',
} as const

/** The same for CommonJS, where the names are variables that a module may have declared itself. */
const COMMONJS_PLACE = ['__filename', '__dirname'] as const

/**
 * This library and zod are the worker's own, so that `instanceof` and schemas hold on both sides.
 *
 * @param homes - Folders of the plugin where it may have a zod of its own, which goes before.
 */
export function hostRule(hosts: HostModules, homes: readonly string[]): EsbuildPlugin {
  const hasOwnZod = homes.some((home) => existsSync(path.join(home, 'node_modules/zod')))
  return {
    name: 'byclaw-host',
    setup(build) {
      build.onResolve({ filter: /^(?:byclaw-gateway-sdk|zod)(?:\/|$)/ }, ({ path: name }) =>
        hasOwnZod && name.startsWith('zod') ? undefined : { path: name, namespace: HOST_SPACE },
      )
      build.onLoad({ filter: /./, namespace: HOST_SPACE }, async ({ path: name }) => {
        try {
          return { contents: hostModule(name, Object.keys(await hosts.load(name))) }
        } catch (error) {
          return { errors: [{ text: `${name} cannot be imported: ${errorMessage(error)}` }] }
        }
      })
    },
  }
}

/** A module that hands on what the worker has; with all its names, so that a wrong one is found while bundling. */
function hostModule(name: string, exports: readonly string[]): string {
  const members = exports.map((member, index) => `const e${index}=host[${JSON.stringify(member)}];`)
  const names = exports.map((member, index) => `e${index} as ${JSON.stringify(member)}`)
  return `const host=module.hosts.get(${JSON.stringify(name)});${members.join('')}export{${names}}`
}

/**
 * Bundled code still knows the place of each of its files, so that what lies beside it can be read: `import.meta.url`,
 * `import.meta.dirname`, `__dirname` and their like.
 */
export function ownPlaceRule(): EsbuildPlugin {
  return {
    name: 'byclaw-own-place',
    setup(build) {
      build.onLoad({ filter: /\.[mc]?[jt]sx?$/, namespace: 'file' }, async ({ path: file }) => {
        const text = await readFile(file, 'utf8')
        const names = placeNames(text)
        if (names.length === 0) return undefined
        const values = placeOfFile(file)
        const declared = names.map((name) => `${name}=${JSON.stringify(values[name])}`)
        // In front of the first line, which moves no other; a #! would not be one there.
        return { contents: `const ${declared};${text.replace(/^#!/, '//')}`, loader: loaderOf(file) }
      })
      // Native code stays where it is.
      build.onResolve({ filter: /\.node$/ }, ({ path: file, resolveDir }) =>
        file.startsWith('.') || path.isAbsolute(file)
          ? { path: path.resolve(resolveDir, file), external: true }
          : undefined,
      )
    },
  }
}

function placeNames(text: string): string[] {
  const ofModules = text.includes('import.meta') ? Object.values(OWN_PLACE) : []
  return [...ofModules, ...COMMONJS_PLACE.filter((name) => text.includes(name) && !declares(text, name))]
}

function declares(text: string, name: string): boolean {
  return new RegExp(`\\b(?:const|let|var|function|as)\\s+${name}\\b|[{,]\\s*${name}\\s*[,}]`).test(text)
}

function placeOfFile(file: string): Readonly<Record<string, string>> {
  const folder = path.dirname(file)
  return {
    [OWN_PLACE['import.meta.url']]: pathToFileURL(file).href,
    [OWN_PLACE['import.meta.filename']]: file,
    [OWN_PLACE['import.meta.dirname']]: folder,
    ...{ __filename: file, __dirname: folder },
  }
}

function loaderOf(file: string): Loader {
  const [, kind = 'js'] = /\.[mc]?([jt]sx?)$/.exec(file) ?? []
  return kind as Loader
}
