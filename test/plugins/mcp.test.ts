import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type McpServerOptions, mcpPlugin } from '../../plugins/mcp/index.ts'
import type { BuildContext, Plugin } from '../../src/agent/plugin.ts'
import type { Tool, ToolContext, Tools } from '../../src/agent/tool.ts'
import { checkPlugin } from '../../src/plugins/check-plugin.ts'
import { findFreePort } from '../../src/testing/servers/free-port.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { sleep } from '../../src/util/sleep.ts'
import { memoryLogger } from '../worker/harness.ts'

const manifest = createRequire(import.meta.url).resolve('@modelcontextprotocol/server-everything/package.json')
const program = join(manifest, '../dist/index.js')
const everything = { command: process.execPath, args: [program, 'stdio'] }

/** The tools of a plugin that has started, and what it logs; it is unloaded after the test. */
async function open(plugin: Plugin) {
  const logger = memoryLogger()
  const context: BuildContext = { pluginId: 'mcp', workerId: 'w', capabilities: ['agent'], logger }
  onTestFinished(() => plugin.onUnload?.({ reason: 'worker-stopped' }))
  const configs = (await plugin.registerAgentConfigs?.(context)) ?? []
  const tools: Tools = Object.assign({}, ...configs.map((config) => config.tools))
  return { tools, logger }
}

const openServer = (server: McpServerOptions) => open(mcpPlugin({ servers: { all: server } }))

function call(tools: Tools, name: string, args: object, signal = new AbortController().signal): Promise<unknown> {
  const tool: Tool | undefined = tools[name]
  if (tool === undefined) throw new Error(`there is no ${name}, only ${Object.keys(tools).join(', ')}`)
  const logger = memoryLogger()
  const context: ToolContext = { signal, sessionId: 's', messageId: 'm', attempt: 1, fencingToken: 1, logger }
  return Promise.resolve(tool.execute(args, context))
}

/** A server that has tools of these names, each of which answers its name; `undefined`: it never says which it has. */
function serverOf(names: readonly string[] | undefined) {
  const source = `
    const tools = ${JSON.stringify(names?.map((name) => ({ name, inputSchema: { type: 'object' } })) ?? null)}
    const results = {
      initialize: ({ protocolVersion }) => ({ protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'x', version: '1' } }),
      'tools/list': () => tools && { tools },
      'tools/call': ({ name }) => ({ content: [{ type: 'text', text: name }] }),
    }
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const { id, method, params } = JSON.parse(line)
      const result = results[method]?.(params)
      if (id !== undefined && result) console.log(JSON.stringify({ jsonrpc: '2.0', id, result }))
    })`
  return { command: process.execPath, args: ['-e', source] }
}

/** The server over HTTP, as a process of its own. */
async function startRemote(port: number): Promise<ChildProcess> {
  const child = spawn(process.execPath, [program, 'streamableHttp'], {
    env: { ...process.env, PORT: String(port) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
  }
  onTestFinished(() => end(child))
  await waitFor(() => /listening/i.test(said), {
    timeoutMs: 30_000,
    message: () => `the server to listen; it said: ${said}`,
  })
  return child
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

describe('a server that is a process', { timeout: 90_000 }, () => {
  test('its tools have its name in front, its schemas, and its answers', async () => {
    const { tools } = await openServer(everything)
    expect(Object.keys(tools)).toEqual(expect.arrayContaining(['all__echo', 'all__get-sum']))
    expect(tools['all__get-sum']?.inputSchema).toMatchObject({ type: 'object', required: ['a', 'b'] })
    expect(await call(tools, 'all__echo', { message: 'hi' })).toBe('Echo: hi')
    expect(await call(tools, 'all__get-structured-content', { location: 'New York' })).toMatchObject({
      temperature: 33,
    })
    expect(await call(tools, 'all__get-tiny-image', {})).toContainEqual(expect.objectContaining({ type: 'image' }))
  })

  test('bad arguments are refused by the server, in its words', async () => {
    const { tools } = await openServer(everything)
    await expect(call(tools, 'all__get-sum', { a: 'one', b: 2 })).rejects.toThrow(
      /tool 'get-sum' of MCP server 'all': .*number/s,
    )
  })

  test('an abort ends the call, and the connection serves the next one', async () => {
    const { tools } = await openServer(everything)
    const controller = new AbortController()
    const long = call(tools, 'all__trigger-long-running-operation', { duration: 60, steps: 60 }, controller.signal)
    controller.abort(new Error('enough'))
    await expect(long).rejects.toThrow('enough')
    expect(await call(tools, 'all__echo', { message: 'still' })).toBe('Echo: still')
  })

  test('include, exclude and prefix choose the tools and their names', async () => {
    const some = { ...everything, include: ['echo', 'get-sum'], exclude: ['get-sum'], prefix: '' }
    const { tools } = await openServer(some)
    expect(Object.keys(tools)).toEqual(['echo'])
    await expect(openServer({ ...everything, include: ['nix'] })).rejects.toThrow("MCP server 'all' has no tool 'nix'")
  })

  test('two tools whose names become the same are both there', async () => {
    const { tools } = await openServer(serverOf(['a.b', 'a_b', 'a/b', 'c.d']))
    const names = Object.keys(tools)
    expect(names).toEqual(expect.arrayContaining(['all__a_b', 'all__c_d']))
    const answers = await Promise.all(names.map((name) => call(tools, name, {})))
    expect(answers.sort()).toEqual(['a.b', 'a/b', 'a_b', 'c.d'])
    expect(await call(tools, 'all__a_b', {})).toBe('a_b')
  })

  test('one that does not say what tools it has is given up in time, and left out if it is not required', async () => {
    const hanging = { ...serverOf(undefined), connectTimeoutMs: 1_000 } // for a process to start, too
    await expect(openServer(hanging)).rejects.toThrow("MCP server 'all' did not tell its tools within 1000 ms")
    expect((await openServer({ ...hanging, required: false })).tools).toEqual({})
  })

  test('one may take longer to connect than a plugin has for its start', () => {
    const slow = mcpPlugin({ servers: { all: { ...everything, connectTimeoutMs: 120_000 } } })
    expect(checkPlugin(slow).startTimeoutMs).toBeGreaterThan(120_000)
  })

  test('times that no timer can wait for are refused by name', async () => {
    const longest = 2 ** 31 - 1
    for (const field of ['timeoutMs', 'connectTimeoutMs']) {
      const openWith = (ms: number) => openServer({ ...serverOf(['echo']), [field]: ms })
      await expect(openWith(longest + 1)).rejects.toThrow(`servers.all.${field}: `)
      expect(await call((await openWith(longest)).tools, 'all__echo', {})).toBe('echo')
    }
  })

  test('one that dies is started again', async () => {
    const { tools, logger } = await openServer({ ...everything, command: await selfKiller() })
    await expect(call(tools, 'all__echo', { message: 'die' })).rejects.toThrow("tool 'echo' of MCP server 'all':")
    await waitFor(() => logger.lines.some(({ message }) => message === 'MCP: connected again'), { timeoutMs: 30_000 })
    expect(logger.lines.filter(({ level }) => level === 'warn')).toHaveLength(1)
    expect(await call(tools, 'all__echo', { message: 'again' })).toBe('Echo: again')
  })

  test('one that dies whenever it has been started is started less and less often', async () => {
    const { command, args } = serverOf(['echo'])
    const [flag = '', source] = args
    const { logger } = await openServer({ command, args: [flag, `${source};setTimeout(() => process.exit(1), 300)`] })
    const lost = () => logger.lines.filter(({ level }) => level === 'warn').length
    await waitFor(() => lost() > 0, { timeoutMs: 10_000 })
    const before = lost()
    await sleep(4_000) // pauses of 200, 400, 800 and 1,600 ms follow the first one
    expect(lost() - before).toBeLessThanOrEqual(4)
    expect(lost()).toBeGreaterThan(1)
  })

  test('one that cannot be started keeps the plugin from starting, unless it is not required', async () => {
    const missing = { command: '/no/such/program' }
    await expect(openServer(missing)).rejects.toThrow(/MCP server 'all' cannot be reached: .*ENOENT/)
    const { tools, logger } = await openServer({ ...missing, required: false })
    expect(tools).toEqual({})
    expect(logger.lines.filter(({ level }) => level !== 'debug').map(({ level }) => level)).toEqual(['warn'])
  })

  test('workers that share the plugin keep its connections until the last of them stops; then a call is refused', async () => {
    const plugin = mcpPlugin({ servers: { all: everything } })
    const { tools } = await open(plugin)
    const { tools: others } = await open(plugin)
    await plugin.onUnload?.({ reason: 'worker-stopped' })
    expect(await call(tools, 'all__echo', { message: 'one' })).toBe('Echo: one')
    expect(await call(others, 'all__echo', { message: 'two' })).toBe('Echo: two')
    await plugin.onUnload?.({ reason: 'worker-stopped' })
    await expect(call(tools, 'all__echo', { message: 'late' })).rejects.toThrow(
      "MCP server 'all' is not in use any more",
    )
    const { tools: again } = await open(plugin)
    expect(await call(again, 'all__echo', { message: 'three' })).toBe('Echo: three')
  })

  /** The path of a program that ends when it is told to echo `die`. */
  async function selfKiller(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'byclaw-mcp-test-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const wrapper = join(folder, 'server.mjs')
    const source = [
      `#!${process.execPath}`,
      "import { spawn } from 'node:child_process'",
      "const child = spawn(process.execPath, process.argv.slice(2), { stdio: ['pipe', 'inherit', 'inherit'] })",
      "process.stdin.on('data', (data) => {",
      "  if (String(data).includes('\"die\"')) child.kill('SIGKILL')",
      '  else child.stdin.write(data)',
      '})',
      "process.stdin.on('end', () => child.kill())",
      "process.on('SIGTERM', () => child.kill())",
      "child.on('exit', () => process.exit(1))",
    ]
    await writeFile(wrapper, source.join('\n'), { mode: 0o755 })
    return wrapper
  }
})

describe('a server over HTTP', { timeout: 90_000 }, () => {
  test('is called, and called again after it was started anew', async () => {
    const port = await findFreePort()
    const first = await startRemote(port)
    const url = `http://127.0.0.1:${port}/mcp`
    const { tools } = await openServer({ url })
    expect(await call(tools, 'all__echo', { message: 'hi' })).toBe('Echo: hi')
    await end(first)
    await expect(call(tools, 'all__echo', { message: 'nobody' })).rejects.toThrow(/MCP server 'all'.*ECONNREFUSED/)
    await startRemote(port)
    expect(await call(tools, 'all__echo', { message: 'again' })).toBe('Echo: again')
  })

  test('that takes no leave of a session holds up nobody who stops', async () => {
    const server = createServer(async (request, response) => {
      if (request.method === 'DELETE') return // for ever
      if (request.method === 'GET') return response.writeHead(405).end()
      const { id, method, params } = JSON.parse((await request.toArray()).join(''))
      const initialized = {
        protocolVersion: params?.protocolVersion,
        capabilities: { tools: {} },
        serverInfo: { name: 'x', version: '1' },
      }
      const result = method === 'initialize' ? initialized : { tools: [] }
      response.setHeader('mcp-session-id', 's').setHeader('content-type', 'application/json')
      if (id === undefined) response.writeHead(202).end()
      else response.end(JSON.stringify({ jsonrpc: '2.0', id, result }))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close().closeAllConnections())
    const plugin = mcpPlugin({
      servers: { all: { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` } },
    })
    await open(plugin)
    const began = performance.now()
    await plugin.onUnload?.({ reason: 'worker-stopped' })
    expect(performance.now() - began).toBeLessThan(4_500) // a hook is given up after 5 s
  })

  test('tells another worker its tools after it was started anew', async () => {
    const port = await findFreePort()
    const first = await startRemote(port)
    const plugin = mcpPlugin({ servers: { all: { url: `http://127.0.0.1:${port}/mcp` } } })
    await open(plugin)
    await end(first)
    await startRemote(port)
    const { tools } = await open(plugin)
    expect(await call(tools, 'all__echo', { message: 'again' })).toBe('Echo: again')
  })
})

describe('options', () => {
  test.each([
    [{ all: {} }, 'servers.all: must have a command (with args, env, cwd) or a url (with headers)'],
    [{ all: { url: 'ftp://x' } }, 'servers.all.url: '],
    [{ all: { command: 'x', timeoutMs: 0 } }, 'servers.all.timeoutMs: '],
    [{ all: { command: 'x', argz: [] } }, 'servers.all: Unrecognized key: "argz"'],
    [{ 'a b': { command: 'x' } }, 'servers.a b: '],
  ])('%j', async (servers, said) => {
    await expect(open(mcpPlugin({ servers: servers as never }))).rejects.toThrow(said)
  })

  test('a file as other MCP clients have it, with variables', { timeout: 90_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'byclaw-mcp-test-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const configFile = join(folder, 'mcp.json')
    const write = (mcpServers: object) => writeFile(configFile, JSON.stringify({ mcpServers }))
    await expect(open(mcpPlugin({ configFile }))).rejects.toThrow(`${configFile}: ENOENT`)
    await write({ all: { command: 'x', env: { KEY: '${BYCLAW_TEST_IS_NOT_SET}' } } })
    await expect(open(mcpPlugin({ configFile }))).rejects.toThrow('the variable BYCLAW_TEST_IS_NOT_SET is not set')
    await write({ all: { type: 'sse', url: 'http://localhost/sse' } })
    await expect(open(mcpPlugin({ configFile }))).rejects.toThrow('mcpServers.all.type: "sse" is not spoken here')
    const others = { type: 'stdio', autoApprove: [], disabled: false }
    const off = { command: 'x', env: { KEY: '${BYCLAW_TEST_IS_NOT_SET}' }, disabled: true }
    await write({ off, all: { ...everything, ...others, env: { HOME_AGAIN: '${HOME}' }, include: ['get-env'] } })
    const { tools } = await open(mcpPlugin({ configFile }))
    expect(await call(tools, 'all__get-env', {})).toContain(`"HOME_AGAIN": "${process.env['HOME']}"`)
  })
})
