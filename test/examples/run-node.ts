import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, onTestFinished } from 'vitest'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** A program that has ended, and what it said. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A program that runs, as a user would start it in the root of the repository, against the built package. */
export interface Running {
  readonly ended: Promise<Ended>
  readonly stdout: () => string
  readonly stderr: () => string
  kill(signal: NodeJS.Signals): void
}

/** Starts `node …args`; it does not outlive the test. `REDIS_URL` is the given one or not set at all. */
export function startNode(args: readonly string[], redisUrl?: string): Running {
  if (!existsSync(join(ROOT, 'dist/index.js'))) throw new Error('the package is not built: npm run build')
  const { REDIS_URL: _, ...env } = process.env
  const given = redisUrl === undefined ? {} : { REDIS_URL: redisUrl }
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    env: { ...env, ...given },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text
    })
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, ...output }))
  })
  return { ended, stdout: () => output.stdout, stderr: () => output.stderr, kill: (signal) => void child.kill(signal) }
}

/** Runs a file of TypeScript to its end. */
export function runExample(path: string, redisUrl?: string): Promise<Ended> {
  return startNode(['--import', 'tsx', path], redisUrl).ended
}

/**
 * Takes the types from examples, all at once: to do so in each process takes half of its time. Answers what runs one of them
 * like {@link runExample}. Made at the head of a test file, and gone after it.
 */
export function plainExamples(paths: readonly string[]): (path: string, redisUrl?: string) => Promise<Ended> {
  // Beside the examples, so that their paths lead where they should.
  const folder = mkdtempSync(join(ROOT, '.examples-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const esbuild = createRequire(import.meta.url).resolve('esbuild/bin/esbuild')
  const flags = ['--format=esm', '--target=node20.19', `--outdir=${folder}`, '--log-level=error']
  execFileSync(esbuild, [...paths.map((path) => join(ROOT, path)), ...flags])
  return (path, redisUrl) => startNode([join(folder, basename(path).replace(/ts$/, 'js'))], redisUrl).ended
}
