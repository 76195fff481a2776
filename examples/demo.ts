// `npm run demo`: an agent in a process of its own, a backend in this one, and a Redis between them.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { styleText } from 'node:util'
import { GatewayClient, type SessionEvent } from 'byclaw-gateway-sdk'
import { startLocalRedis, waitFor } from 'byclaw-gateway-sdk/testing'

const QUESTION = 'What will the weather be in Beijing?'
const SESSION = `demo-${process.pid}`
const WORKER = `demo-worker-${process.pid}`
const WORKER_START_MS = 20_000

const REDIS_SOURCES = {
  url: 'the one of REDIS_URL',
  binary: 'a private one, in memory, for the time of this demo',
  container: 'a private one, in a container, for the time of this demo',
  installed: 'a private one, just installed, for the time of this demo',
}

type Style = Parameters<typeof styleText>[0]

const paint = (style: Style, text: string) => (process.stdout.isTTY ? styleText(style, text) : text)
const say = (label: string, text: string) => console.log(`  ${paint('bold', label.padEnd(9))} ${text}`)
const pathOf = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

/** Runs the weather agent as you would in production: by the launcher, which stops it in order on SIGTERM. */
function launchWorker(redisUrl: string) {
  const agent = `${pathOf('./weather-agent.ts')}#WeatherAgent`
  const options = ['--worker-class', agent, '--worker-id', WORKER, '--redis-url', redisUrl]
  const child = spawn(process.execPath, [pathOf('../dist/cli/byclaw-worker.js'), ...options])
  const exited = once(child, 'exit')
  const log: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => log.push(piece))
  const killWithUs = () => child.kill('SIGKILL')
  process.once('exit', killWithUs)
  return {
    pid: child.pid,
    /** Its log, if it has ended. */
    get lastWords() {
      return child.exitCode === null && child.signalCode === null ? undefined : Buffer.concat(log).toString()
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await exited
      process.off('exit', killWithUs)
    },
  }
}

async function waitForWorker(client: GatewayClient, worker: ReturnType<typeof launchWorker>) {
  const found = await waitFor(
    async () => worker.lastWords ?? (await client.listWorkers()).find(({ workerId }) => workerId === WORKER),
    { timeoutMs: WORKER_START_MS, message: 'the worker to come up' },
  )
  if (typeof found === 'string') throw new Error(`the worker ended before it was up:\n${found}`)
  return found
}

/** Shows events as they come, chunks of one answer on one line. */
function eventPrinter() {
  const startedAt = performance.now()
  let inAnswer = false
  return (event: SessionEvent) => {
    if (event.type === 'chunk' && inAnswer) {
      process.stdout.write(event.content)
      return
    }
    if (inAnswer) process.stdout.write('\n')
    inAnswer = event.type === 'chunk'
    const time = paint('dim', `${Math.round(performance.now() - startedAt)} ms`.padStart(9))
    process.stdout.write(`  ${time} ${paint('cyan', event.type.padEnd(9))} ${describe(event)}${inAnswer ? '' : '\n'}`)
  }
}

function describe(event: SessionEvent): string {
  switch (event.type) {
    case 'chunk':
      return event.content
    case 'state':
      return event.state
    case 'data': {
      const call = event.data as { tool: string; input: unknown; output: unknown }
      return `${call.tool}(${JSON.stringify(call.input)}) ${paint('dim', '→')} ${JSON.stringify(call.output)}`
    }
    case 'artifact':
      return `${event.artifact.name}, ${event.artifact.mimeType}`
    case 'done':
      return paint(event.status === 'COMPLETED' ? 'green' : 'red', event.status)
    default:
      return JSON.stringify(event)
  }
}

async function runDemo() {
  console.log(`\n${paint('bold', 'byclaw-gateway-sdk')}: an agent, a backend, and a Redis between them\n`)
  await using redis = await startLocalRedis({ log: (message) => say('Redis', message) })
  say('Redis', `${redis.url} ${paint('dim', `(${REDIS_SOURCES[redis.source]})`)}`)
  await using client = new GatewayClient({ redis: redis.url })
  await using worker = launchWorker(redis.url)
  const { capabilities, maxConcurrency } = await waitForWorker(client, worker)
  say('worker', `process ${worker.pid} offers ${capabilities}, up to ${maxConcurrency} tasks at a time`)
  say('backend', `process ${process.pid} asks: ${paint('bold', QUESTION)}\n`)

  const sent = await client.sendMessage({ targetAgentType: 'weather_agent', sessionId: SESSION, content: QUESTION })
  if (!sent.success) throw new Error(sent.error.message)
  const ref = { sessionId: SESSION, messageId: sent.messageId }
  const print = eventPrinter()
  for await (const event of client.subscribe(SESSION, { messageId: sent.messageId })) print(event)

  const result = await client.result({ ...ref, timeoutMs: 10_000 })
  if (result.status !== 'COMPLETED') throw new Error(result.error?.message)
  console.log()
  say('result', JSON.stringify(result.data))
  say('task', `${sent.messageId}, attempt ${result.attempts}, by ${(await client.getTask(ref))?.workerId}`)
}

function printNextSteps() {
  const steps = [
    ['the code', 'examples/weather-agent.ts is the agent, examples/demo.ts the backend'],
    ['smaller', 'node --import tsx examples/01-echo.ts, and so on up to 05'],
    ['your own', 'npx byclaw-worker --dev --worker-class ./examples/echo-agent.ts#EchoAgent'],
    ['', 'npx byclaw send echo "hello"   (in another terminal)'],
    ['options', 'npx byclaw-worker --help, npx byclaw --help'],
    ['to read', 'README.md: Quick start, Writing a worker, The client, Events, Errors, Redis'],
  ]
  console.log(`\n${paint('bold', 'Where to go from here')}\n`)
  for (const [label = '', text = ''] of steps) say(label, text)
  console.log()
}

// Exit through the handlers of `exit`, so that an interrupted demo leaves no worker behind.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

await runDemo()
printNextSteps()
