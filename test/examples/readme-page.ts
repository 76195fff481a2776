import ts from 'typescript'
import { parse, textOf } from '../ground/sources.ts'

/** A fenced block of the page, and what the comment right above it says, such as `example: examples/01-echo.ts`. */
export interface Block {
  readonly language: string
  readonly text: string
  readonly mark: string | undefined
  /** Number of its first line. */
  readonly line: number
}

export const README = textOf('README.md')

const BLOCK = /^(?:<!-- (.*?) -->\n\n)?```(\w*)\n([\s\S]*?)^```$/gm

/** The blocks of a page. */
export function blocks(page = README): Block[] {
  return [...page.matchAll(BLOCK)].map(({ 0: all, 1: mark, 2: language = '', 3: text = '', index }) => {
    const lead = all.length - text.length - '```'.length
    return { language, text, mark, line: page.slice(0, index + lead).split('\n').length }
  })
}

/** What stands under a heading, up to the next one of whatever level. */
export function section(heading: string): string {
  const start = README.indexOf(`\n${heading}\n`)
  if (start < 0) throw new Error(`the README has no heading '${heading}'`)
  const text = README.slice(start + heading.length + 2)
  const end = text.search(/^#+ /m)
  return end < 0 ? text : text.slice(0, end)
}

/** The rows of the table under a heading whose first column is headed so, cell by cell. */
export function tableRows(heading: string, headed: string): string[][] {
  const rows = section(heading)
    .split('\n')
    .map((line) => (line.startsWith('|') ? line.slice(1, -1).split('|') : []).map((cell) => cell.trim()))
  const head = rows.findIndex(([first]) => first === headed)
  if (head < 0) throw new Error(`under '${heading}' there is no table headed '${headed}'`)
  const body = rows.slice(head + 2)
  const end = body.findIndex(({ length }) => length === 0)
  return end < 0 ? body : body.slice(0, end)
}

/** The names that stand as code in the first column of a table: `` `name` `` and `` `name(args)` ``. */
export function tableNames(heading: string, headed: string): string[] {
  return tableRows(heading, headed).flatMap(([first = '']) =>
    [...first.matchAll(/`([\w-]+)/g)].map(([, name]) => name ?? ''),
  )
}

/** The members of an interface of the source, without those it inherits. */
export function membersOf(path: string, name: string): string[] {
  return declarationOf(path, name, ts.isInterfaceDeclaration).members.flatMap((member) =>
    member.name === undefined ? [] : [member.name.getText()],
  )
}

/** The values of the property `type` in a union of object types. */
export function typesIn(path: string, name: string): string[] {
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    const isType = ts.isPropertySignature(node) && node.name.getText() === 'type' && node.type !== undefined
    if (isType && ts.isLiteralTypeNode(node.type) && ts.isStringLiteral(node.type.literal))
      found.push(node.type.literal.text)
    else ts.forEachChild(node, visit)
  }
  visit(declarationOf(path, name, ts.isTypeAliasDeclaration))
  return found
}

function declarationOf<Kind extends ts.Statement & { readonly name: ts.Identifier }>(
  path: string,
  name: string,
  isKind: (node: ts.Node) => node is Kind,
): Kind {
  for (const statement of parse(path, textOf(path)).tree.statements) {
    if (isKind(statement) && statement.name.text === name) return statement
  }
  throw new Error(`${path} declares no ${name}`)
}
