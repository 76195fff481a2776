import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { errorMessage, GATEWAY_ERROR_CODES, GatewayError, RetryableError, TerminalError } from '../../src/errors.ts'
import { filesIn, literalOf, parse, type Source, textOf } from './sources.ts'

const HOME = 'src/errors.ts'

function walk({ tree }: Source, visit: (node: ts.Node) => void): void {
  const step = (node: ts.Node): void => {
    visit(node)
    ts.forEachChild(node, step)
  }
  step(tree)
}

/** Classes of the catalogue's file that stand for one code: `class X extends GatewayError { … super('GW_…' … }`. */
function codeByClass(): Map<string, string> {
  const found = new Map<string, string>()
  walk(parse(HOME, textOf(HOME)), (node) => {
    if (!ts.isClassDeclaration(node) || node.name === undefined) return
    const code = /super\('(GW_[A-Z_]+)'/.exec(node.getText())?.[1]
    if (code !== undefined) found.set(node.name.text, code)
  })
  return found
}

/** The codes that a file gives to an error or a fault; one that is only compared with does not count. */
function codesMade(source: Source, classes: ReadonlyMap<string, string>): string[] {
  const codes: string[] = []
  walk(source, (node) => {
    if (ts.isNewExpression(node)) {
      const code = classes.get(node.expression.getText())
      if (code !== undefined) codes.push(code)
    }
    const text = literalOf(node)?.text ?? ''
    if (!/^GW_[A-Z_]+$/.test(text)) return
    const { parent } = node
    const isCompared = ts.isBinaryExpression(parent) && /^[!=]==?$/.test(parent.operatorToken.getText())
    if (!isCompared && !ts.isTypeNode(parent) && !ts.isCaseClause(parent)) codes.push(text)
  })
  return codes
}

/** The codes in the first column of the tables of a page. */
function codesListed(page: string): string[] {
  return [...page.matchAll(/^\|\s*`(GW_[A-Z_]+)`\s*\|.*\S.*\|/gm)].map(([, code]) => code ?? '').sort()
}

describe('the catalogue', () => {
  const classes = codeByClass()
  const made = new Set(
    filesIn('src', '.ts')
      .filter((path) => path !== HOME)
      .flatMap((path) => codesMade(parse(path, textOf(path)), classes)),
  )

  test('there is something to look at', () => {
    expect(GATEWAY_ERROR_CODES.length).toBeGreaterThan(15)
    expect(classes.size).toBeGreaterThan(0)
  })

  test('each code is thrown somewhere, or no user will ever meet it', () => {
    expect(GATEWAY_ERROR_CODES.filter((code) => !made.has(code))).toEqual([])
  })

  test('no code is thrown that does not stand in it', () => {
    expect([...made].filter((code) => !(GATEWAY_ERROR_CODES as string[]).includes(code))).toEqual([])
  })

  test('the README lists exactly these codes, each once, in a table', () => {
    expect(codesListed(textOf('README.md'))).toEqual([...GATEWAY_ERROR_CODES].sort())
  })

  test('the table is read as people read it', () => {
    const page = '| code | when |\n| --- | --- |\n| `GW_A` | then |\n|`GW_B`|then|\n\nAlso `GW_C`.\n| `GW_D` | |\n'
    expect(codesListed(page)).toEqual(['GW_A', 'GW_B'])
  })

  test('comparing is not throwing', () => {
    const text =
      "if (e.code === 'GW_A') throw new GatewayError('GW_B', {})\nconst c = x ? 'GW_C' : 'GW_D'\nnew Mine('x')"
    expect(codesMade(parse('src/x.ts', text), new Map([['Mine', 'GW_E']]))).toEqual(['GW_B', 'GW_C', 'GW_D', 'GW_E'])
  })
})

describe('an error', () => {
  test('has its code for programs, its message for people, its details for logs, and its cause', () => {
    const cause = new Error('inner')
    const error = new GatewayError('GW_TIMEOUT', { what: 'it', timeoutMs: 5 }, { cause })
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({
      ...{ name: 'GatewayError', code: 'GW_TIMEOUT', message: 'it did not come within 5 ms', cause },
      details: { what: 'it', timeoutMs: 5 },
    })
    expect(error.stack).toContain('GatewayError: it did not come within 5 ms')
  })

  test.each(GATEWAY_ERROR_CODES)('%s has one line that can be read, also with nothing known', (code) => {
    const { message } = new GatewayError(code, {})
    expect(message).toMatch(/\S/)
    expect(message).not.toContain('\n')
    expect(message).not.toContain('[object Object]')
  })

  test.each([
    ['text', '(got "text")'],
    [0, '(got 0)'],
    [null, '(got null)'],
    [[1], '(got [1])'],
    [1n, '(got 1)'],
    [Number.NaN, '(got NaN)'],
    [{ delayMs: -Infinity }, '(got {"delayMs":"-Infinity"})'],
    ['x'.repeat(200), '...)'],
  ])('an invalid argument shows its value: %s', (value, end) => {
    const { message } = new GatewayError('GW_INVALID_ARGUMENT', { field: 'f', reason: 'no', value })
    expect(message.endsWith(end)).toBe(true)
    expect(message.length).toBeLessThan(120)
  })

  test('of a handler says whether to try again, and when', () => {
    const cause = new Error('inner')
    expect(new TerminalError('never', { cause })).toMatchObject({ name: 'TerminalError', message: 'never', cause })
    expect(new RetryableError('later', { delayMs: 5, cause })).toMatchObject({
      name: 'RetryableError',
      delayMs: 5,
      cause,
    })
    expect(new RetryableError('later').delayMs).toBeUndefined()
  })

  test('of a handler needs no text: that of its cause will do', () => {
    const cause = new Error('inner')
    const bare = new RetryableError({ delayMs: 5 })
    expect([bare.delayMs, errorMessage(bare), 'cause' in bare]).toEqual([5, 'RetryableError', false])
    expect(new RetryableError({ delayMs: 5, cause })).toMatchObject({ message: 'inner', delayMs: 5, cause })
    expect(new TerminalError({ cause })).toMatchObject({ message: 'inner', cause })
    expect(new TerminalError(cause)).toMatchObject({ message: 'inner', cause })
    expect(errorMessage(new TerminalError())).toBe('TerminalError')
  })

  test('that has no text of its own, and is made of others, has theirs', () => {
    const mute = <Thrown extends Error>(error: Thrown) => Object.assign(error, { message: '' })
    const of = (errors: unknown[]) => mute(new AggregateError(errors, 'several'))
    const refused = ['127.0.0.1', '::1'].map((host) => new Error(`connect ECONNREFUSED ${host}:1`))
    expect(errorMessage(of(refused))).toBe('connect ECONNREFUSED 127.0.0.1:1; connect ECONNREFUSED ::1:1')
    expect(errorMessage(new AggregateError(refused, 'no way'))).toBe('no way')
    const round = of([7, mute(new TypeError('x'))])
    round.errors.push(round)
    expect(errorMessage(round)).toBe('7; TypeError; AggregateError')
    expect(errorMessage(of([]))).toBe('AggregateError')
    expect(errorMessage(of(Array(5_000).fill('x')))).toBe(Array(10).fill('"x"').join('; '))
  })

  test('anything thrown has a text', () => {
    const cyclic: Record<string, unknown> = {}
    cyclic.self = cyclic
    const thrown = [new Error('e'), 'text', 7, null, undefined, { a: 1 }, Symbol('s'), 1n, cyclic]
    expect(thrown.map(errorMessage)).toEqual([
      ...['e', 'text', '7', 'null', 'undefined', '{"a":1}', 'Symbol(s)', '1', '[object Object]'],
    ])
  })
})
