import { expect, test } from 'vitest'
import type { AgentContext } from '../../src/agent/context.ts'
import { GatewayClient } from '../../src/client/client.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { House } from '../worker/harness.ts'
import { command } from './support/command.ts'
import { byclaw } from './support/program.ts'

test('byclaw asks and byclaw reply: what people are asked, and their answers', { timeout: 60_000 }, async () => {
  const house = new House()
  const env = { REDIS_URL: house.url, BYAI_WORKER_KEY_PREFIX: house.prefix }
  const run = (...args: string[]) => command(args, { env })
  expect(await run('asks')).toMatchObject({ code: 0, stdout: '', stderr: 'nobody is asked anything\n' })

  const schema = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }
  const ask = async (_: unknown, context: AgentContext) =>
    context.sessionId === 's-1'
      ? context.askUser({ prompt: 'Red\nor green?', options: ['red', { value: 'green', label: 'Green' }] })
      : context.askUser({ prompt: 'How many?', schema })
  await house.work(ask, { suspendAfterMs: 20 })
  await using client = new GatewayClient({ redis: house.url, keyPrefix: house.prefix })
  for (const sessionId of ['s-1', 's-2']) {
    await client.sendMessage({ targetAgentType: 'agent', sessionId, messageId: 'm', content: 'hi' })
    await waitFor(async () => (await client.pendingAsks(sessionId)).length === 1)
  }
  const [first] = await client.pendingAsks('s-1')
  const [second] = await client.pendingAsks('s-2')

  const all = await run('asks')
  expect({ code: all.code, stderr: all.stderr }).toEqual({ code: 0, stderr: '' })
  expect(all.stdout.trimEnd().split('\n')).toEqual([
    expect.stringMatching(/^ASKED +SESSION +MESSAGE +ASK +OPTIONS +PROMPT$/),
    expect.stringMatching(
      new RegExp(`s-1 +m +${first?.askId} +red \\| {"value":"green","label":"Green"} +Red⏎or green\\?$`),
    ),
    expect.stringMatching(new RegExp(`s-2 +m +${second?.askId} +- +How many\\?$`)),
  ])
  const one = await run('asks', 's-2', '--json')
  expect(
    one.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([second])

  expect(await run('reply', 's-1', 'm', `${first?.askId}`, 'blue')).toMatchObject({
    code: 1,
    stdout: 'INVALID: must be one of "red", "green"\n',
  })
  const green = await byclaw(['reply', 's-1', 'm', `${first?.askId}`, '-'], { env, input: 'green\n' })
  expect(green).toMatchObject({ code: 0, stdout: 'ACCEPTED\n' })
  const given = await run('reply', 's-2', 'm', `${second?.askId}`, '{"n": 3}', '--data', '--json')
  expect(JSON.parse(given.stdout)).toEqual({ success: true, status: 'ACCEPTED' })
  expect((await client.result({ sessionId: 's-1', messageId: 'm' })).data).toBe('green')
  expect((await client.result({ sessionId: 's-2', messageId: 'm' })).data).toEqual({ n: 3 })
  expect((await run('reply', 's-2', 'm', 'ask-0', '{', '--data')).stderr).toMatch(
    /^byclaw: --data: the text is no JSON/,
  )
  expect((await run('reply', 's-2', 'm', 'ask-0', 'x')).stdout).toBe('CLOSED\n')
  expect((await run('asks', 's 1')).stderr).toMatch(/^byclaw: \[session\] is invalid/)
})
