import { expect, test } from 'vitest'
import { z } from 'zod'
import { defineAgent, requireTarget } from '../../src/agent/contract.ts'
import { checkRequest } from '../../src/client/request.ts'
import { checkCall } from '../../src/context/durable/call-request.ts'

const target = defineAgent('sums', { input: z.object({ n: z.number() }), output: z.number() })
const content = { n: 1 }
const fault = {
  code: 'GW_INVALID_ARGUMENT',
  message: `targetAgentType is invalid: target is the contract of 'sums'; one of the two is enough (got "others")`,
}

test('a contract beside the name of another agent is refused, by a send and by a call', () => {
  const both = { target, targetAgentType: 'others', content }
  expect(() => checkRequest({ ...both, sessionId: 's' })).toThrow(expect.objectContaining(fault))
  expect(() => checkCall(both)).toThrow(expect.objectContaining(fault))
})

test('beside its own name, or none, it is none the worse', () => {
  for (const targetAgentType of ['sums', undefined]) {
    expect(checkCall({ target, targetAgentType, content })).toMatchObject({ targetAgentType: 'sums' })
    expect(() => requireTarget(target, targetAgentType)).not.toThrow()
  }
})
