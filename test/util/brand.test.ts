import { expect, test, vi } from 'vitest'
import { AskAgentCommand, GatewayCommand } from '../../src/protocol/command.ts'

const header = { messageId: 'm', sessionId: 's', traceId: 't' }

/** The package loaded once more, as a plugin with its own `node_modules` has it. */
async function secondCopy() {
  vi.resetModules()
  const { AskAgentCommand: Ask, GatewayCommand: Command } = await import('../../src/protocol/command.ts')
  const { GatewayError, TerminalError, ToolNotFoundError } = await import('../../src/errors.ts')
  const { GatewayWorker } = await import('../../src/agent/worker.ts')
  return { Ask, Command, GatewayError, TerminalError, ToolNotFoundError, GatewayWorker }
}

test('instanceof holds across two copies of the package', async () => {
  const one = await secondCopy()
  const two = await secondCopy()
  expect(one.Ask).not.toBe(two.Ask)
  const command = new one.Ask({ header, content: 'hi' })
  expect(command).toBeInstanceOf(two.Ask)
  expect(command).toBeInstanceOf(two.Command)
  expect(new one.TerminalError('no')).toBeInstanceOf(two.TerminalError)
  expect(new one.ToolNotFoundError('t', [])).toBeInstanceOf(two.ToolNotFoundError)
  expect(new one.ToolNotFoundError('t', [])).toBeInstanceOf(two.GatewayError)
  class Mine extends one.GatewayWorker {
    getCapabilities() {
      return ['c']
    }
    async processCommand() {
      return null
    }
  }
  expect(new Mine()).toBeInstanceOf(two.GatewayWorker)
})

test('and still tells kinds apart', async () => {
  const { GatewayError, TerminalError, ToolNotFoundError } = await secondCopy()
  expect(new TerminalError('no')).not.toBeInstanceOf(GatewayError)
  expect(new GatewayError('GW_CLOSED', { what: 'x' })).not.toBeInstanceOf(ToolNotFoundError)
  expect(new GatewayError('GW_CLOSED', { what: 'x' })).not.toBeInstanceOf(TerminalError)
  expect(new Error('no')).not.toBeInstanceOf(GatewayError)
  for (const value of [null, undefined, 'text', 1, {}]) {
    expect(value instanceof GatewayError).toBe(false)
    expect(value instanceof GatewayCommand).toBe(false)
  }
})

test('a subclass is recognised by identity, not by its parent’s brand', () => {
  class Urgent extends AskAgentCommand {}
  class MoreUrgent extends Urgent {}
  const plain = new AskAgentCommand({ header, content: 'hi' })
  const urgent = new MoreUrgent({ header, content: 'hi' })
  expect(plain).not.toBeInstanceOf(Urgent)
  expect(urgent).toBeInstanceOf(Urgent)
  expect(urgent).toBeInstanceOf(MoreUrgent)
  expect(urgent).toBeInstanceOf(AskAgentCommand)
  const nothing: unknown = null
  expect(nothing instanceof Urgent).toBe(false)
})
