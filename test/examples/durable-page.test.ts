import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { textOf } from '../ground/sources.ts'
import { compileBlocks } from './compile-blocks.ts'
import { blocks } from './readme-page.ts'
import { ROOT, runExample } from './run-node.ts'

const PAGE = 'docs/durable-calls.md'
const programs = blocks(textOf(PAGE)).filter(({ language }) => language === 'ts')
let folder = ''

beforeAll(() => {
  // As the page has it: a folder of one's own in which the package is installed.
  folder = mkdtempSync(join(tmpdir(), 'byclaw-page-'))
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(ROOT, join(folder, 'node_modules', 'byclaw-gateway-sdk'))
  symlinkSync(join(ROOT, 'node_modules', 'zod'), join(folder, 'node_modules', 'zod'))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
})
afterAll(() => rmSync(folder, { recursive: true }))

test('the page has programs, and they compile', { timeout: 120_000 }, () => {
  expect(programs.length).toBeGreaterThanOrEqual(6)
  expect(compileBlocks(programs, PAGE)).toEqual([])
})

describe('a program prints what the page says, and nothing else', () => {
  test.each(programs)('line $line', { timeout: 120_000 }, async ({ line, text }) => {
    const path = join(folder, `line-${line}.ts`)
    writeFileSync(path, text)
    const { code, stdout, stderr } = await runExample(path)
    expect(stderr).toBe('')
    expect(stdout.trimEnd().split('\n')).toEqual([...text.matchAll(/\/\/ → (.*)$/gm)].map(([, said]) => said))
    expect(code).toBe(0)
  })
})
