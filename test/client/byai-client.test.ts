import { expect, onTestFinished, test } from 'vitest'
import { ByaiGatewayClient, type RichMessageRequest } from '../../src/client/byai-client.ts'
import { GatewayClient } from '../../src/client/client.ts'
import type { RichMessage } from '../../src/protocol/rich-content.ts'
import { House } from '../worker/harness.ts'

const file = { fileId: 1, fileUrl: 'https://x/y.pdf', fileType: 'file', fileName: 'y.pdf' } as const
const to = { targetAgentType: 'agent', sessionId: 's' }

function rich(house: House): ByaiGatewayClient {
  const client = new ByaiGatewayClient({ redis: house.url, keyPrefix: house.prefix, logger: house.logger })
  onTestFinished(() => client.close())
  return client
}

test('rich messages arrive in their full form; text stays text', async () => {
  const house = new House()
  await house.work((command) => command.content)
  const client = rich(house)
  expect(client).toBeInstanceOf(GatewayClient)
  const full = { role: 'user', content: { text: 'Read this', files: [file], resources: [] } }
  const many = await client.ask({
    ...to,
    content: [
      { role: 'user', content: { text: 'Read this', files: [file] } },
      { role: 'system', content: 'Be brief' },
    ],
  })
  expect(many.data).toEqual([full, { role: 'system', content: 'Be brief' }])
  expect(
    (await client.ask({ ...to, content: { role: 'user', content: { text: 'Read this', files: [file] } } })).data,
  ).toEqual([full])
  expect((await client.ask({ ...to, content: 'plain' })).data).toBe('plain')
})

test('a message that is none is refused with its path, and nothing is written', async () => {
  const house = new House()
  const client = rich(house)
  const answers = await Promise.all([
    client.sendMessage({ ...to, content: [{ role: 'boss', content: 'x' }] }),
    client.sendMessage({ ...to, content: { role: 'user', content: 7 } }),
    client.sendMessage({ ...to, content: [] }),
  ])
  expect(answers.map((answer) => (answer.success ? 'sent' : answer.error.message))).toEqual([
    expect.stringMatching(/^content\.0\.role is invalid/),
    expect.stringMatching(/^content\.0\.content is invalid/),
    expect.stringMatching(/^content is invalid: must not be empty/),
  ])
  expect(await house.redis.keys(`${house.prefix}*`)).toEqual([])
})

test('what was made as a rich message, or as a request with one, is taken as it is', async () => {
  const house = new House()
  await house.work((command) => command.content)
  const client = rich(house)
  const message: RichMessage = { role: 'user', content: { text: 'Read this' } }
  const request: RichMessageRequest = { ...to, content: message }
  const full = [{ role: 'user', content: { text: 'Read this', files: [], resources: [] } }]
  expect((await client.ask(request)).data).toEqual(full)
  expect((await client.ask({ ...to, content: message })).data).toEqual(full)
})

test('a target that is undefined is none: the message gets its full form', async () => {
  const house = new House()
  await house.work((command) => command.content)
  const request = { ...to, target: undefined, content: [{ role: 'user', content: { text: 'Read this' } }] }
  const full = [{ role: 'user', content: { text: 'Read this', files: [], resources: [] } }]
  expect((await rich(house).ask(request)).data).toEqual(full)
})
