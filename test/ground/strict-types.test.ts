import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'

const run = promisify(execFile)

/** All that a user writes as an object, by where it is imported from. */
const WRITTEN: Record<string, readonly string[]> = {
  'byclaw-gateway-sdk': [
    'AgentCall',
    'AgentConfig',
    'Artifact',
    'AskOptions',
    'CallOptions',
    'CancelOptions',
    'CancelTaskOptions',
    'ClientInterceptors',
    'ContractCall',
    'DeadLetterFilter',
    'DeleteSessionOptions',
    'DiagnoseOptions',
    'DropOptions',
    'EmitOptions',
    'ExplainOptions',
    'GatewayClientOptions',
    'GroupOptions',
    'HistoryPage',
    'Interceptors',
    'ListDeadLettersOptions',
    'ListTasksOptions',
    'MemoryHistoryOptions',
    'MessageHeaderInit',
    'MessageOptions',
    'NewHistoryMessage',
    'PluginHooks',
    'PluginManifest',
    'PromptOptions',
    'QueueStatsOptions',
    'Question',
    'RedisHistoryOptions',
    'RedisOption',
    'RedriveOptions',
    'ReloadPluginsOptions',
    'ReplyOptions',
    'ResultOptions',
    'RetryPolicy',
    'RetryRule',
    'RetryableErrorOptions',
    'RichFile',
    'RichMessageRequest',
    'RichResource',
    'RunWorkerOptions',
    'SendContractRequest',
    'SendMessageRequest',
    'SubscribeOptions',
    'TaskOptions',
    'TextOptions',
    'Tool',
    'WorkerRetryPolicy',
  ],
  'byclaw-gateway-sdk/history/postgres': ['PostgresHistoryOptions'],
  'byclaw-gateway-sdk/testing': ['LocalServerOptions', 'TestHarnessOptions', 'TestRequest', 'WaitForOptions'],
}

/** The fields that may be left out, but not written as `undefined`; those of ioredis' and of a plugin's methods aside. */
const REFUSING = `
type Refusing<T> = T extends object
  ? { [K in keyof T]-?: {} extends Pick<T, K> ? (Record<K, undefined> extends Pick<T, K> ? never : K) : never }[keyof T]
  : never
type Own<T> = T extends { duplicate: unknown } ? never : T
export type None<T extends never> = T
`

/** Compiles a user's project as strictly as it goes; what the compiler finds. */
async function compiled(program: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'byclaw-types-test-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  await mkdir(join(folder, 'node_modules'))
  await symlink(resolve('.'), join(folder, 'node_modules/byclaw-gateway-sdk'))
  for (const name of ['@types', 'zod']) {
    await symlink(resolve('node_modules', name), join(folder, 'node_modules', name))
  }
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  await writeFile(join(folder, 'main.ts'), program)
  const compilerOptions = {
    ...{ strict: true, target: 'es2022', module: 'nodenext', types: ['node'], skipLibCheck: true, noEmit: true },
    ...{ exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noPropertyAccessFromIndexSignature: true },
  }
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.ts'] }))
  const compiler = resolve('node_modules/typescript/bin/tsc')
  // It tells its findings on stdout, and by its exit code.
  const answer = await run(process.execPath, [compiler, '-p', '.'], { cwd: folder }).catch((error: unknown) => error)
  return (answer as { stdout: string }).stdout
}

test('what may be left out may also be undefined, for those who check exactly', async () => {
  const names = Object.entries(WRITTEN)
  const imports = names.map(([from, types]) => `import type { ${types.join(', ')} } from '${from}'`)
  const checks = names.flatMap(([, types]) =>
    types.map((type) => `export type _${type} = None<Refusing<Own<${type}>>>`),
  )
  const within = {
    AskAgentCommand: 'ConstructorParameters<typeof AskAgentCommand>[0]',
    ResumeCommand: 'ConstructorParameters<typeof ResumeCommand>[0]',
    CancelTaskCommand: 'ConstructorParameters<typeof CancelTaskCommand>[0]',
    RichMessage: "Exclude<RichMessage['content'], string>",
  }
  const moreImports = `import type { ${Object.keys(within).join(', ')} } from 'byclaw-gateway-sdk'`
  const more = Object.entries(within).map(([name, type]) => `export type _${name} = None<Refusing<${type}>>`)
  expect(await compiled([...imports, moreImports, REFUSING, ...checks, ...more].join('\n'))).toBe('')
}, 60_000)

test('so a program need not say what it does not know', async () => {
  const program = `
import { type AgentContext, GatewayClient, GatewayWorker, runWorker, tool } from 'byclaw-gateway-sdk'
import { z } from 'zod'

declare const maybe: <T>() => T | undefined

export class Agent extends GatewayWorker {
  getCapabilities() {
    return ['agent']
  }

  override getTools() {
    return { look: tool({ description: 'x', input: z.object({}), timeoutMs: maybe<number>(), execute: () => 1 }) }
  }

  async processCommand(_: unknown, context: AgentContext) {
    await context.emitChunk({ content: 'x', role: maybe<string>() }, { metadata: maybe<Record<string, unknown>>() })
    await context.emitArtifact({ name: 'x', url: maybe<string>() })
    await context.getHistory({ limit: maybe<number>(), before: maybe<string>() })
    await context.askUser({ prompt: 'x', timeoutMs: maybe<number>(), options: [{ value: 1, label: maybe<string>() }] })
    await context.dispatchGroup([], { failFast: maybe<boolean>() })
    return context.callAgent({ targetAgentType: 'x', content: 'x', timeoutMs: maybe<number>() })
  }
}

await runWorker({ workerClass: Agent, redis: maybe<string>(), leaseMs: maybe<number>(), history: maybe<false>() })
const client = new GatewayClient({ redis: { host: maybe<string>() }, logger: undefined })
const task = { sessionId: 's', messageId: 'm' }
await client.sendMessage({ ...task, targetAgentType: 'x', content: 'x', priority: maybe<'high'>(), retry: { maxAttempts: maybe<number>() } })
await client.result({ ...task, signal: maybe<AbortSignal>() })
client.subscribe('s', { after: maybe<string>(), signal: maybe<AbortSignal>() })
`
  expect(await compiled(program)).toBe('')
}, 60_000)

test('what is sent may be of an interface, and what a client takes by its name may be given to it', async () => {
  const program = `
import { type AgentContext, AskAgentCommand, ByaiGatewayClient, GatewayClient } from 'byclaw-gateway-sdk'
import type { RichMessage, RichMessageRequest } from 'byclaw-gateway-sdk'

interface Trip {
  readonly city: string
  readonly days?: number
}
declare const context: AgentContext
declare const trip: Trip
declare const message: RichMessage
declare const request: RichMessageRequest

const task = { targetAgentType: 'x', sessionId: 's' }
const client = new GatewayClient()
await client.sendMessage({ ...task, content: trip })
await client.ask({ ...task, content: trip, onEvent: ({ type }) => type })
await context.callAgent({ targetAgentType: 'x', content: trip })
await context.callAgent({ targetAgentType: 'x', content: trip, waitForReply: false })
await context.dispatchGroup([{ targetAgentType: 'x', content: trip }])
await client.sendCommand(new AskAgentCommand({ header: task, content: trip }))

const rich = new ByaiGatewayClient()
await rich.sendMessage({ ...task, content: message })
await rich.sendMessage(request)
await rich.ask({ ...request, timeoutMs: 1_000 })

// @ts-expect-error neither text nor object
await client.sendMessage({ ...task, content: 5 })
`
  expect(await compiled(program)).toBe('')
}, 60_000)
