import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** One TypeScript file, read and parsed. */
export interface Source {
  /** Path from the root of the repository, with slashes. */
  readonly path: string
  readonly tree: ts.SourceFile
}

/** The files below a folder whose names end so, by path from the root of the repository; generated ones are left out. */
export function filesIn(folder: string, ending: string): string[] {
  const names = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
  const paths = names.map((name) => `${folder}/${name.replaceAll('\\', '/')}`)
  return paths.filter((path) => path.endsWith(ending) && !path.endsWith('.generated.ts')).sort()
}

/** The text of a file, by path from the root of the repository. */
export function textOf(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** Parses a text as if it stood at this path. */
export function parse(path: string, text: string): Source {
  return { path, tree: ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true) }
}

/** Every node of a file for which `find` says something, as `path:line says`. */
export function complaints({ path, tree }: Source, find: (node: ts.Node) => string | undefined): string[] {
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    const said = find(node)
    if (said !== undefined)
      found.push(`${path}:${tree.getLineAndCharacterOfPosition(node.getStart()).line + 1} ${said}`)
    ts.forEachChild(node, visit)
  }
  visit(tree)
  return found
}

/** The text of a string or of one piece of a template, and whether a `${…}` stands right before it. */
export function literalOf(node: ts.Node): { text: string; followsHole: boolean } | undefined {
  if (ts.isStringLiteralLike(node) || ts.isTemplateHead(node)) return { text: node.text, followsHole: false }
  if (ts.isTemplateMiddle(node) || ts.isTemplateTail(node)) return { text: node.text, followsHole: true }
  return undefined
}

/** `object.name` or `object['name']` as a pair. */
export function memberOf(node: ts.Node): { object: string; name: string } | undefined {
  if (ts.isPropertyAccessExpression(node)) return { object: node.expression.getText(), name: node.name.text }
  if (ts.isElementAccessExpression(node) && ts.isStringLiteralLike(node.argumentExpression)) {
    return { object: node.expression.getText(), name: node.argumentExpression.text }
  }
  return undefined
}

/** The names imported from a module; `*` and the default import by their local name. */
export function importsOf(node: ts.Node): { module: string; names: string[] } | undefined {
  if (!ts.isImportDeclaration(node) || !ts.isStringLiteralLike(node.moduleSpecifier)) return undefined
  const bindings = node.importClause?.namedBindings
  const named = bindings !== undefined && ts.isNamedImports(bindings) ? bindings.elements : []
  return {
    module: node.moduleSpecifier.text,
    names: named.map((element) => (element.propertyName ?? element.name).text),
  }
}
