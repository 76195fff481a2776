import { mkdir, mkdtemp, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { GatewayClient } from '../../../src/client/client.ts'
import { waitFor } from '../../../src/testing/wait-for.ts'
import type { RunningWorker } from '../../../src/worker/worker-runtime.ts'
import { House, type LogLine, type WorkOptions } from '../../worker/harness.ts'

/** What a machine that is ten times slower may take. */
const PATIENCE_MS = 30_000

/** Resolves when it is so, however slow the machine. */
export function eventually(look: () => boolean | Promise<boolean>): Promise<unknown> {
  return waitFor(look, { timeoutMs: PATIENCE_MS })
}

/** A folder of plugins; gone after the test. */
export class PluginDir {
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  static async with(files: Readonly<Record<string, string>>): Promise<PluginDir> {
    const dir = new PluginDir(await realpath(await mkdtemp(join(tmpdir(), 'byclaw-plugins-'))))
    onTestFinished(() => rm(dir.path, { recursive: true, force: true }))
    for (const [name, text] of Object.entries(files)) await dir.write(name, text)
    return dir
  }

  at(name: string): string {
    return join(this.path, name)
  }

  async write(name: string, text: string): Promise<void> {
    await mkdir(dirname(this.at(name)), { recursive: true })
    await writeFile(this.at(name), text)
  }

  rename(from: string, to: string): Promise<void> {
    return rename(this.at(from), this.at(to))
  }

  remove(name: string): Promise<void> {
    return rm(this.at(name), { recursive: true })
  }
}

/** The text of a plugin with one tool `say`, which returns an expression's value. */
export function sayPlugin(expression: string, { id = 'sayer', version = '1.0.0', head = '', body = '' } = {}): string {
  return [
    "import { definePlugin, tool } from 'byclaw-gateway-sdk'",
    "import { z } from 'zod'",
    head,
    `export default definePlugin({ manifest: { pluginId: '${id}', version: '${version}' },`,
    '  registerAgentConfigs() {',
    `    const say = tool({ description: 'says it', input: z.object({}), execute: async () => ${expression} })`,
    `    return [{ agentId: 'agent', tools: { ${id}_say: say } }]`,
    `  }, ${body} })`,
  ].join('\n')
}

/** A house with one worker whose handler calls `say` of `sayer`, unless told otherwise. */
export class PluginHouse extends House {
  #client: GatewayClient | undefined
  #asked = 0
  #seen = 0

  async workWith(dir: PluginDir | undefined, options: WorkOptions = {}): Promise<RunningWorker> {
    return this.work((_, context) => context.callTool('sayer_say', {}), { pluginDir: dir?.path, ...options })
  }

  /** What a new task says. */
  async say(): Promise<unknown> {
    this.#client ??= this.client()
    const sessionId = `session-${this.#asked++}`
    const result = await this.#client.ask({ targetAgentType: 'agent', sessionId, content: 'say' })
    return result.status === 'COMPLETED' ? result.data : result.error?.message
  }

  /** Resolves when a new task says it. */
  async says(wanted: unknown): Promise<void> {
    let said: unknown
    const message = () => `a task to say ${wanted}; the last said ${said}; ${JSON.stringify(this.errors)}`
    const look = async () => {
      said = await this.say()
      return said === wanted
    }
    await waitFor(look, { message, timeoutMs: PATIENCE_MS })
  }

  /** The errors that {@link error} has not answered yet. */
  get errors(): LogLine[] {
    return this.logger.lines.filter(({ level }) => level === 'error').slice(this.#seen)
  }

  /** Resolves with the errors that were logged since, as soon as there is one. */
  async error(): Promise<string> {
    await waitFor(() => this.errors.length > 0, { message: 'an error to be logged', timeoutMs: PATIENCE_MS })
    const messages = this.errors.map(({ message }) => message)
    this.#seen += messages.length
    return messages.join('\n')
  }
}
