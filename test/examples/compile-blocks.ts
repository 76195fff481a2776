import { join } from 'node:path'
import ts from 'typescript'
import type { Block } from './readme-page.ts'
import { ROOT } from './run-node.ts'

/** What the blocks speak of and do not declare. */
const AMBIENT = `
declare const client: import('byclaw-gateway-sdk').GatewayClient
declare const context: import('byclaw-gateway-sdk').AgentContext
declare const GatewayClient: typeof import('byclaw-gateway-sdk').GatewayClient
declare const ioredisClient: import('byclaw-gateway-sdk').RedisInstance
declare const ca: string, cert: string, key: string
declare function render(text: string): void
declare function fetchPrice(article: string, signal: AbortSignal): Promise<{ cents: number }>
`

/** Compiles each block as a module in the root of the repository; answers the errors as `<page>:line message`. */
export function compileBlocks(blocks: readonly Block[], page = 'README.md'): string[] {
  const files = new Map(blocks.map((block) => [join(ROOT, `block-${block.line}.ts`), block]))
  const texts = new Map([...files].map(([path, { text }]) => [path, `${text}\nexport {}\n`]))
  texts.set(join(ROOT, 'block-ambient.d.ts'), AMBIENT)

  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile)
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, ROOT)
  const host = ts.createCompilerHost(options)
  const { readFile, fileExists } = host
  host.fileExists = (path) => texts.has(path) || fileExists(path)
  host.readFile = (path) => texts.get(path) ?? readFile(path)

  const program = ts.createProgram([...texts.keys()], { ...options, noUnusedLocals: false }, host)
  return ts.getPreEmitDiagnostics(program).map(({ file, start = 0, messageText }) => {
    const line = file?.getLineAndCharacterOfPosition(start).line ?? 0
    const place = `${page}:${(files.get(file?.fileName ?? '')?.line ?? 0) + line}`
    return `${place} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
  })
}
