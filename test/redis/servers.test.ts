import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { findBinary } from '../../src/testing/servers/find-binary.ts'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { startChild } from '../worker/child.ts'
import { House } from '../worker/harness.ts'

/**
 * Every server program at hand: those on the PATH, and those that `TEST_REDIS_SERVERS` names (full paths, separated as in
 * PATH), for instance a Redis 6.2 and a Valkey.
 */
const { env } = process
const onPath = await Promise.all(['redis-server', 'valkey-server'].map((name) => findBinary({ names: [name], env })))
const named = (env['TEST_REDIS_SERVERS'] ?? '').split(delimiter)
const programs = [...new Set([...onPath, ...named])].filter((path) => path !== undefined && path !== '') as string[]

/** A house on a server of this program. */
async function houseOn(program: string): Promise<House> {
  const folder = await mkdtemp(join(tmpdir(), 'byclaw-server-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  await symlink(program, join(folder, 'redis-server'))
  const server = await startLocalRedis({ fresh: true, env: { PATH: folder } })
  onTestFinished(() => server.stop())
  return new House(server.url, 'queue')
}

test.each(programs)(
  'on %s: tasks, delays, retries, dead letters, cancels and calls do what they do elsewhere',
  {
    timeout: 60_000,
  },
  async (program) => {
    const house = await houseOn(program)
    await house.work(
      async (command, context) => {
        await context.emitChunk('said')
        if (command.content === 'bad') throw new Error('bad')
        if (command.content === 'twice' && context.attempt === 1) throw new Error('once')
        if (command.content === 'call') {
          const { data } = await context.callAgent({ targetAgentType: 'agent', content: 'called' })
          return data
        }
        return command.content
      },
      { retry: { maxAttempts: 2, backoff: { type: 'fixed', delayMs: 20 } } },
    )
    const client = house.client()
    const ask = (content: string) => client.ask({ targetAgentType: 'agent', sessionId: 's', content })
    expect(await ask('plain')).toMatchObject({ status: 'COMPLETED', data: 'plain' })
    expect(await ask('twice')).toMatchObject({ status: 'COMPLETED', attempts: 2 })
    expect(await ask('call')).toMatchObject({ status: 'COMPLETED', data: 'called' })
    expect(await ask('bad')).toMatchObject({ status: 'FAILED', attempts: 2 })
    await waitFor(async () => (await client.listDeadLetters('agent')).length === 1)
    expect(await client.dropDeadLetters()).toMatchObject({ dropped: 1 })
    const ref = { sessionId: 's', messageId: 'm' }
    await client.sendMessage({ ...ref, targetAgentType: 'agent', content: 'late', delayMs: 600_000 })
    expect(await client.cancelTask(ref)).toMatchObject({ status: 'CANCELLED' })
    await house.settled()
    expect((await client.diagnose({ intervalMs: 20 })).findings).toEqual([])
  },
)

test.each(programs)(
  'on %s: who takes over from the dead passes over what was deleted, and finds all the rest',
  {
    timeout: 60_000,
  },
  async (program) => {
    const house = await houseOn(program)
    const { child } = await startChild(house, 'w-1', 1_000)
    const client = house.client()
    const ids = Array.from({ length: 5 }, (_, i) => `m-${i}`)
    child.kill('SIGSTOP')
    for (const messageId of ids)
      await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', messageId, content: 'hi' })
    // As the dead one would have left them: pending, and two of them deleted by somebody else.
    const key = house.keys.control('agent')
    await house.redis.call('XREADGROUP', 'GROUP', 'agent_engines', 'w-1', 'COUNT', 5, 'STREAMS', key, '>')
    const entries = await house.redis.xrange(key, '-', '+')
    child.kill('SIGKILL')
    expect(entries).toHaveLength(5)
    await house.redis.xdel(key, entries[0]?.[0] ?? '', entries[3]?.[0] ?? '')
    await house.work((_command, { messageId }) => messageId, { workerId: 'w-2', leaseMs: 1_000 })
    for (const messageId of [ids[1], ids[2], ids[4]] as string[])
      expect(await client.result({ sessionId: 's', messageId })).toMatchObject({ status: 'COMPLETED', data: messageId })
    await waitFor(async () => (await house.waiting()) === 0)
  },
)
