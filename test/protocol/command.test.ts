import { afterAll, describe, expect, test } from 'vitest'
import {
  AskAgentCommand,
  CancelTaskCommand,
  type CommandContent,
  commandClass,
  GatewayCommand,
  ResumeCommand,
  registerCommand,
} from '../../src/protocol/command.ts'
import { contentFault } from '../../src/protocol/content-fault.ts'
import { MessageHeader } from '../../src/protocol/header.ts'

const header = new MessageHeader({ messageId: 'm', sessionId: 's', traceId: 't' })

describe('ASK_AGENT', () => {
  test('says what it has on the wire; an empty payload is left out', () => {
    expect(new AskAgentCommand({ header, content: 'hi' }).toBody()).toEqual({ content: 'hi', wait_for_reply: false })
    expect(
      new AskAgentCommand({ header, content: ['x'], waitForReply: true, extraPayload: { a: 1 } }).toBody(),
    ).toEqual({ content: ['x'], wait_for_reply: true, extra_payload: { a: 1 } })
  })

  test.each([[''], [' \n\t'], [[]], [undefined], [null], [7]])(
    '%j is no content, neither given nor received',
    (content) => {
      expect(contentFault(content)).not.toBeNull()
      expect(() => new AskAgentCommand({ header, content: content as CommandContent })).toThrow(/^content is invalid/)
      expect(() => AskAgentCommand.fromBody(header, { content })).toThrow(/^content is invalid/)
    },
  )

  test.each([['hi'], [['hi']], [{}], [{ city: 'Beijing' }]])('%j is content', (content) => {
    expect(AskAgentCommand.fromBody(header, { content }).content).toEqual(content)
  })

  test.each([
    [{ content: 'x', wait_for_reply: 'yes' }, /^body\.wait_for_reply is invalid/],
    [{ content: 'x', extra_payload: [] }, /^body\.extra_payload is invalid/],
    [{ content: 'x', wait_for_reply: true, extra_payload: [] }, /^body\.extra_payload is invalid/],
  ])('%j is refused with its path', (body, message) => {
    expect(() => AskAgentCommand.fromBody(header, body)).toThrow(message)
  })

  test('takes a header’s fields as well as a header', () => {
    const command = new AskAgentCommand({ header: { messageId: 'a', sessionId: 'b', traceId: 'c' }, content: 'x' })
    expect(command.header).toBeInstanceOf(MessageHeader)
    expect(command.actionType).toBe('ASK_AGENT')
    expect(new AskAgentCommand({ header, content: 'x' }).header).toBe(header)
  })
})

test.each([AskAgentCommand, ResumeCommand, CancelTaskCommand])('%o without a header says so', (Kind) => {
  for (const init of [undefined, {}, { content: 'x', header: 'me' }]) {
    expect(() => new Kind(init as never)).toThrow(/^header is invalid: must be an object with named members/)
  }
})

describe('RESUME', () => {
  test('needs a status or content', () => {
    expect(() => new ResumeCommand({ header })).toThrow(/^status is invalid/)
    expect(() => ResumeCommand.fromBody(header, { content: ' ', reply_data: 1 })).toThrow(/^status is invalid/)
    expect(new ResumeCommand({ header, content: 'Bob' }).toBody()).toEqual({
      content: 'Bob',
      status: '',
      reply_data: null,
    })
    expect(new ResumeCommand({ header, status: 'OK', extraPayload: { a: 1 } }).toBody()).toEqual({
      content: '',
      status: 'OK',
      reply_data: null,
      extra_payload: { a: 1 },
    })
  })

  test.each([[null], [0], [false], ['x'], [{ a: [1] }]])('carries any answer: %j', (replyData) => {
    const sent = new ResumeCommand({ header, status: 'OK', replyData })
    expect(ResumeCommand.fromBody(header, sent.toBody())).toEqual(sent)
  })
})

describe('CANCEL_TASK', () => {
  test('writes all its keys always', () => {
    expect(new CancelTaskCommand({ header, targetMessageId: 'm-2' }).toBody()).toEqual({
      target_message_id: 'm-2',
      target_execution_id: '',
      target_worker_id: '',
      reason: '',
      requested_by: '',
      cancel_mode: 'graceful',
    })
  })

  test('each field goes to its own key and comes back', () => {
    const sent = new CancelTaskCommand({
      header,
      targetMessageId: 'a',
      targetExecutionId: 'b',
      targetWorkerId: 'c',
      reason: 'd',
      requestedBy: 'e',
      cancelMode: 'force',
    })
    expect(Object.values(sent.toBody())).toEqual(['a', 'b', 'c', 'd', 'e', 'force'])
    expect(CancelTaskCommand.fromBody(header, sent.toBody())).toEqual(sent)
  })

  test.each([
    [{}, /^body\.target_message_id is invalid/],
    [{ target_message_id: '' }, /^body\.target_message_id is invalid/],
    [{ target_message_id: 'm', cancel_mode: 'gentle' }, /^body\.cancel_mode is invalid/],
  ])('%j is refused with its path', (body, message) => {
    expect(() => CancelTaskCommand.fromBody(header, body)).toThrow(message)
  })
})

describe('registerCommand', () => {
  const TYPE = 'TEST_COMMAND_OF_COMMAND_TEST'
  class Mine extends GatewayCommand {
    static readonly actionType = TYPE
    override toBody() {
      return {}
    }
    static fromBody(from: MessageHeader): Mine {
      return new Mine(from)
    }
  }

  test('makes a kind known; the same class again does nothing', () => {
    expect(commandClass(TYPE)).toBeUndefined()
    registerCommand(Mine)
    registerCommand(Mine)
    expect(commandClass(TYPE)).toBe(Mine)
    expect(new Mine(header).actionType).toBe(TYPE)
  })

  test('refuses another class for a known kind, and a kind without a name', () => {
    class Other extends Mine {}
    expect(() => registerCommand(Other)).toThrow(/^actionType is invalid: another class/)
    expect(() =>
      registerCommand(
        class extends Mine {
          static override readonly actionType = 'ASK_AGENT' as never
        },
      ),
    ).toThrow(/^actionType is invalid: another class/)
    expect(() =>
      registerCommand(
        class extends Mine {
          static override readonly actionType = '' as never
        },
      ),
    ).toThrow(/^actionType is invalid/)
    expect(commandClass('ASK_AGENT')).toBe(AskAgentCommand)
  })

  test.each(['constructor', 'toString', '__proto__', ''])('%s is no kind', (name) => {
    expect(commandClass(name)).toBeUndefined()
  })

  afterAll(() => expect(commandClass('RESUME')).toBe(ResumeCommand))
})
