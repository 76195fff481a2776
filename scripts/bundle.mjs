// Bundles the programs of src into dist, beside the types that tsc puts there: some 200 modules in a dozen files, which load in
// half the time. What they share is in dist/chunks; packages stay what they are, dependencies.

import { rmSync } from 'node:fs'
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

const root = new URL('../', import.meta.url)
rmSync(new URL('dist/chunks', root), { recursive: true, force: true })
await build({
  absWorkingDir: new URL(root).pathname,
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
  minifySyntax: true,
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
})
