import { expect, test } from 'vitest'
import { GatewayClient } from '../../src/client/client.ts'
import { command } from './support/command.ts'
import { meetingPlace, talkHere } from './support/talker.ts'

test('byclaw tree: who was sent on whose behalf, as a picture and as JSON', { timeout: 60_000 }, async () => {
  const env = meetingPlace()
  await talkHere(env)
  const run = (...args: string[]) => command(args, { env })
  await using client = new GatewayClient({ redis: env.REDIS_URL, keyPrefix: env.BYAI_WORKER_KEY_PREFIX })
  const send = { sessionId: 's-1', targetAgentType: 'talker', content: 'silent' }
  await client.ask({ ...send, messageId: 'm-1' })
  await client.ask({ ...send, messageId: 'm-2', parentMessageId: 'm-1' })
  await client.ask({ ...send, messageId: 'm-3', parentMessageId: 'm-2', content: 'fail' })
  await client.sendMessage({ ...send, messageId: 'm-4', parentMessageId: 'm-1', targetAgentType: 'nobody' })

  const { code, stdout, stderr } = await run('tree', 's-1', 'm-1')
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout.trimEnd().split('\n')).toEqual([
    expect.stringMatching(/^AGENT +STATUS +TOOK +TRY +MESSAGE +ERROR$/),
    expect.stringMatching(/^talker +COMPLETED +\d+m?s +1 +m-1$/),
    expect.stringMatching(/^├─ talker +COMPLETED +\d+m?s +1 +m-2$/),
    expect.stringMatching(/^│ {2}└─ talker +FAILED +\d+m?s +1 +m-3 +no such⏎city \(GW_TASK_FAILED\)$/),
    expect.stringMatching(/^└─ nobody +QUEUED +- +0 +m-4$/),
  ])

  const json = await run('tree', 's-1', 'm-2', '--json')
  expect(json.stdout.split('\n')).toHaveLength(2)
  expect(JSON.parse(json.stdout)).toMatchObject({
    task: { messageId: 'm-2', status: 'COMPLETED' },
    children: [{ task: { messageId: 'm-3' }, error: { message: 'no such\ncity' }, children: [] }],
  })
  expect(await run('tree', 's-1', 'm-9')).toMatchObject({ code: 1, stdout: '', stderr: 'no such task\n' })
  expect((await run('tree', 's 1', 'm-1')).stderr).toMatch(/^byclaw: <session> is invalid/)
})
