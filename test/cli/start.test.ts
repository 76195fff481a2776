import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { builtProgram } from './support/program.ts'

/** `import … from "x"`, `import "x"` and `export … from "x"`, as they stand at the head of a built file. */
const STATIC = /^(?:import|export)\b[^'";]*?"([^"]+)"/gm
const DYNAMIC = /\bimport\("([^"]+)"\)/g

/** The packages that a built file imports, itself or by the files that it imports. */
function packagesOf(file: string, patterns: readonly RegExp[], seen = new Set<string>()): Set<string> {
  seen.add(file)
  const text = readFileSync(file, 'utf8')
  const names = patterns.flatMap((pattern) => [...text.matchAll(pattern)].map(([, name = '']) => name))
  const files = names.filter((name) => name.startsWith('.')).map((name) => path.resolve(path.dirname(file), name))
  const found = new Set(names.filter((name) => !/^(?:\.|node:)/.test(name)))
  for (const next of files) {
    if (!seen.has(next)) for (const one of packagesOf(next, patterns, seen)) found.add(one)
  }
  return found
}

describe.each(['byclaw', 'byclaw-worker'] as const)('%s', (name) => {
  test('reads its command line, helps and refuses without what works with Redis', () => {
    expect([...packagesOf(builtProgram(name), [STATIC])]).toEqual(['commander'])
  })

  test('loads that once there is work', () => {
    const all = packagesOf(builtProgram(name), [STATIC, DYNAMIC])
    expect([...all]).toEqual(expect.arrayContaining(['commander', 'ioredis', 'zod', 'pino']))
  })
})
