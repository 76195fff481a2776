import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inject } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ESBUILD = createRequire(import.meta.url).resolve('esbuild/bin/esbuild')

/**
 * The path of a program in TypeScript that imports nothing but this package and Node's, without its types: a loader that
 * takes them away in each process takes longer than all the rest of its start. Made at the head of a module, and gone
 * after the run.
 */
export function plainProgram(file: URL): string {
  const folder = mkdtempSync(join(inject('scratchFolder'), 'program-'))
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(ROOT, join(folder, 'node_modules/byclaw-gateway-sdk'))
  const program = join(folder, 'program.mjs')
  execFileSync(ESBUILD, [fileURLToPath(file), '--format=esm', `--outfile=${program}`, '--log-level=error'])
  return program
}
