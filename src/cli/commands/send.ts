import { randomUUID } from 'node:crypto'
import type { Command } from 'commander'
import type { SendMessageRequest } from '../../client/request.ts'
import { GatewayError } from '../../errors.ts'
import type { CommandContent } from '../../protocol/command.ts'
import { contentFault } from '../../protocol/content-fault.ts'
import { checkCapability, checkId, newMessageId } from '../../protocol/ids.ts'
import { parseJson } from '../../protocol/json.ts'
import { AnswerPrinter } from '../answer-printer.ts'
import type { Desk } from '../desk.ts'
import { EXIT, UsageError } from '../failure.ts'
import { withClient } from '../operator.ts'
import { milliseconds } from '../option-values.ts'
import { readStdin } from '../stdin.ts'

interface SendOptions {
  readonly session?: string
  readonly messageId?: string
  readonly data?: true
  readonly wait: boolean
  readonly timeoutMs?: number
  readonly json?: true
}

/** `byclaw send`: asks an agent and streams its answer. */
export function addSend(program: Command): void {
  const command = program
    .command('send')
    .description('ask an agent and stream its answer; the exit code is 0 only when the task is COMPLETED')
    .argument('<capability>', 'the type of agent')
    .argument('<text>', 'what to ask; - reads it from stdin')
    .option('--session <id>', 'go on in this session; default a new one')
    .option('--message-id <id>', 'idempotency key: sent twice, runs once')
    .option('--data', 'the text is a JSON object or array and is sent as such')
    .option('--no-wait', 'end once the task is queued')
    .option('--timeout-ms <ms>', 'wait no longer for the end', milliseconds)
    .option('--json', 'one JSON event per line')
  withClient<SendOptions>(command, send, {
    capability: '<capability>',
    sessionId: '--session',
    messageId: '--message-id',
  })
}

async function send(
  desk: Desk,
  options: SendOptions,
  [capability = '', text = '']: readonly string[],
): Promise<number> {
  const request: SendMessageRequest = {
    targetAgentType: checkCapability('capability', capability),
    sessionId: checkId('sessionId', options.session ?? `cli-${randomUUID()}`),
    messageId: checkId('messageId', options.messageId ?? newMessageId()),
    content: toContent(text === '-' ? await readStdin() : text, options),
  }
  return options.wait ? ask(desk, request, options) : sendOnly(desk, request, options)
}

function toContent(text: string, { data }: SendOptions): CommandContent {
  const content = data ? parseData(text) : text
  const reason = contentFault(content)
  if (reason !== null) throw new GatewayError('GW_INVALID_ARGUMENT', { field: '<text>', value: content, reason })
  return content as CommandContent
}

function parseData(text: string): unknown {
  const json = parseJson(text)
  if (!json.ok) throw new UsageError(`--data: the text is no JSON: ${json.reason}`)
  if (typeof json.value === 'object' && json.value !== null) return json.value
  throw new UsageError('--data: the JSON must be an object or an array')
}

async function sendOnly(desk: Desk, request: SendMessageRequest, { json }: SendOptions): Promise<number> {
  const { sessionId } = request
  const sent = await desk.client.sendMessage(request)
  if (!sent.success) throw new GatewayError('GW_SEND_REFUSED', { status: sent.status, ...sent.error })
  desk.print(json ? JSON.stringify({ sessionId, ...sent }) : `${sent.status} ${sent.messageId} in session ${sessionId}`)
  return 0
}

async function ask(desk: Desk, request: SendMessageRequest, { json, timeoutMs }: SendOptions): Promise<number> {
  if (json) {
    const result = await desk.client.ask({
      ...request,
      timeoutMs,
      onEvent: (event) => desk.print(JSON.stringify(event)),
    })
    return result.status === 'COMPLETED' ? 0 : EXIT.failure
  }
  desk.remark(desk.paintRemark('dim', `session ${request.sessionId}, message ${request.messageId}`))
  await tellIfNobodyIsThere(desk, request.targetAgentType)
  const printer = new AnswerPrinter({
    write: (text) => void process.stdout.write(text),
    remark: desk.remark,
    paintRemark: desk.paintRemark,
    isShared: process.stdout.isTTY && process.stderr.isTTY,
  })
  const result = await desk.client.ask({ ...request, timeoutMs, onEvent: (event) => printer.onEvent(event) })
  printer.finish(result)
  return result.status === 'COMPLETED' ? 0 : EXIT.failure
}

/** Else a person would wait in front of a silent terminal and not know why. */
async function tellIfNobodyIsThere({ client, remark, paintRemark }: Desk, capability: string): Promise<void> {
  const workers = await client.listWorkers()
  if (workers.some(({ capabilities }) => capabilities.includes(capability))) return
  remark(paintRemark('yellow', `no live worker offers '${capability}' yet, the task waits for one`))
}
