import { createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { GatewayClient } from '../../src/client/client.ts'
import { RedisHistory } from '../../src/history/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { Gate, House } from '../worker/harness.ts'
import { command } from './support/command.ts'
import { startByclawWorker } from './support/program.ts'
import { meetingPlace, startTalker, TALKER } from './support/talker.ts'

async function spoken() {
  const place = meetingPlace()
  const env = { ...place, BYAI_HISTORY_URL: 'redis' }
  await startTalker(env)
  const { REDIS_URL: redis, BYAI_WORKER_KEY_PREFIX: keyPrefix } = place
  const history = new RedisHistory({ redis, keyPrefix })
  const client = new GatewayClient({ redis, keyPrefix, history })
  onTestFinished(async () => {
    await client.close()
    await history.close()
  })
  const [worker] = await client.listWorkers()
  const { messageId } = await client.ask({
    ...{ targetAgentType: worker?.capabilities[0] ?? '', sessionId: 's-1', content: 'hello', timeoutMs: 15_000 },
  })
  return { env, place, client, messageId }
}

test('a worker is told by a flag or a variable where its history is, and byclaw shows and deletes it', async () => {
  const { env, client, messageId } = await spoken()
  const kept = await client.getHistory('s-1')
  expect(kept[0]).toMatchObject({ role: 'user', content: 'hello', messageId })

  const shown = await command(['history', 's-1'], { env })
  expect(shown).toMatchObject({ code: 0, stderr: '' })
  expect(shown.stdout).toMatch(/^ *AGE +ROLE +MESSAGE +CONTENT\n/)
  expect(shown.stdout).toMatch(new RegExp(`user +${messageId} +hello`))

  const asJson = await command(['history', 's-1', '--json', '--limit', '1'], { env })
  expect(
    asJson.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([kept.at(-1)])

  const deleted = await command(['sessions', 'delete', 's-1', '--history-url', 'redis'], { env })
  expect(deleted).toMatchObject({ code: 0, stdout: 'deleted 1 task, 0 of them cancelled\n', stderr: '' })
  expect(await client.getHistory('s-1')).toEqual([])
  const after = await command(['history', 's-1'], { env })
  expect(after).toMatchObject({ code: 0, stdout: '', stderr: 'nothing is kept of this session\n' })
})

test("of --dev, redis means the Redis that it started, also where another one has the default's port", async () => {
  const other = createServer((socket) => socket.destroy()).on('error', () => undefined) // somebody is there already
  other.listen(6379, '127.0.0.1')
  onTestFinished(() => void other.close())
  const worker = startByclawWorker(['--worker-class', TALKER, '--dev', '--history-url', 'redis'])
  await worker.says('worker is consuming')
  const [, url = ''] = /gone with this process: (\S+)\n/.exec(worker.stderr) ?? []
  const [capability = ''] = JSON.parse((await command(['workers', '--json', '--redis-url', url])).stdout).capabilities
  await command(['send', capability, 'hello', '--session', 's-1', '--redis-url', url])
  const shown = await command(['history', 's-1', '--history-url', url, '--redis-url', url])
  expect(shown.stdout).toMatch(/user +\S+ +hello\n/)
})

test('byclaw looks at what a session has queued through the group of its workers', async () => {
  const place = meetingPlace()
  const { REDIS_URL: url, BYAI_WORKER_KEY_PREFIX: keyPrefix } = place
  const house = new House(url, keyPrefix)
  const gate = new Gate()
  // It has no slot for what comes, and what is cancelled is left to it, since it offers the capability.
  await house.work(() => gate.pass(), { consumerGroup: 'mine', maxConcurrency: 1 })
  const client = house.client()
  for (const sessionId of ['busy', 's-1', 's-2']) {
    await client.sendMessage({ targetAgentType: 'agent', sessionId, content: 'hello' })
    await gate.reached(1)
  }
  const remove = (sessionId: string, env: object) =>
    command(['sessions', 'delete', sessionId, '--timeout-ms', '300', '--json'], { env: { ...place, ...env } })
  const own = await remove('s-1', { BYAI_WORKER_CONSUMER_GROUP: 'mine' })
  expect(JSON.parse(own.stdout)).toMatchObject({ success: true, left: 0 })
  expect(await house.waiting()).toBe(2)
  const other = await remove('s-2', {})
  expect(JSON.parse(other.stdout)).toMatchObject({ success: false, cancelled: 1, left: 1 })
  expect(await house.waiting()).toBe(2)
  gate.open()
  await waitFor(async () => (await house.waiting()) === 0)
})

test('without a place byclaw says what to do', async () => {
  const place = meetingPlace()
  const shown = await command(['history', 's-1'], { env: place })
  expect(shown.code).toBe(2)
  expect(shown.stderr).toMatch(/^byclaw: --history-url is missing: say where/)
  const deleted = await command(['sessions', 'delete', 's-1', '--json'], { env: place })
  expect(JSON.parse(deleted.stdout)).toEqual({
    success: true,
    tasks: 0,
    cancelled: 0,
    left: 0,
    history: 'NOT_CONFIGURED',
  })
  expect(deleted.stderr).toContain('--history-url')
})

test.each([
  [
    ['history', 's-1', '--history-url', 'mysql://ann:secret@x'],
    '--history-url is invalid: must be postgres://…, redis://… or redis (GW_INVALID_ARGUMENT)\n',
  ],
  [
    ['history', 's-1', '--history-url', 'postgres://ann:secret@:port/x'],
    '--history-url is invalid: expected a URL such as postgres://user:password@host:5432/database (GW_INVALID_ARGUMENT)\n',
  ],
  [['history', 's-1', '--history-url', 'redis', '--before', 'x'], "--before is invalid: must be a message's id"],
  [['history', 's-1', '--history-url', 'postgres://x', '--history-table', 'a b'], '--history-table is invalid'],
  [
    ['history', 's-1', '--history-url', 'redis', '--history-table', 'a'],
    '--history-table is invalid: it is for a history in P',
  ],
])('byclaw %j names what is at fault', async (args, reason) => {
  const { code, stderr } = await command(args, { env: meetingPlace() })
  expect(stderr).toContain(reason)
  expect(code).toBe(2)
})

test('a place that is none is refused by its flag, not by that of the connection', async () => {
  const given = ['--history-url', 'redis://here:1/x', '--redis-url', 'redis://there:1']
  const { code, stderr } = await command(['history', 's-1', ...given.slice(0, 2)], { env: meetingPlace() })
  expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('--history-url is invalid') })
  const worker = startByclawWorker(['--worker-class', TALKER, ...given])
  expect(await worker.ended).toMatchObject({ code: 2, stderr: expect.stringContaining('--history-url is invalid') })
})
