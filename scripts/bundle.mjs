// Bundles the programs of src into dist, beside the types that tsc puts there: some 200 modules in a dozen files, whose import takes
// two thirds of the time. What they share is in dist/chunks; packages stay what they are, dependencies.

import { readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

/** What package.json names, and what is loaded by its place: see src/util/own-file.ts. */
const ENTRIES = [
  'index',
  'testing/index',
  'history/postgres',
  'cli/byclaw',
  'cli/byclaw-worker',
  'cli/module-hooks',
  'worker/lease-thread',
]

const root = fileURLToPath(new URL('../', import.meta.url))
const dist = path.join(root, 'dist')
// What an earlier build has left is not to be published with this one.
for (const file of readdirSync(dist, { recursive: true })) {
  if (/\.js(?:\.map)?$/.test(file)) rmSync(path.join(dist, file))
}
await build({
  absWorkingDir: root,
  entryPoints: ENTRIES.map((entry) => `src/${entry}.ts`),
  outbase: 'src',
  outdir: 'dist',
  chunkNames: 'chunks/[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  packages: 'external',
  // Writes out literals that are spread into literals, which V8 of Node 20 takes a hundred times as long for.
  minifySyntax: true,
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
})
