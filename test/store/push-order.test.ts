import { expect, test } from 'vitest'
import { DataWriter } from '../../src/store/data-writer.ts'
import { endedFence } from '../../src/store/fence.ts'
import { DEFAULT_RETENTION } from '../../src/store/retention.ts'
import { TaskRecords } from '../../src/store/task-records.ts'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { openStore } from '../redis/harness.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { seenCommands } from '../support/seen-commands.ts'

test('what one task says, and its end, leaves behind a PING, so that the server answers whoever listens first', async () => {
  const server = await startLocalRedis({ fresh: true })
  onTestFinished(() => server.stop())
  const { redis, keys, bare } = openStore(server.url)
  const records = new TaskRecords(redis, keys)
  const writer = new DataWriter(redis, keys, DEFAULT_RETENTION)
  const tasks = await Promise.all(
    [1, 2, 3].map(async (number) => {
      const ref = { sessionId: 's', messageId: `m-${number}` }
      await records.admit([{ ...ref, agentType: 'agent', traceId: 't', parentMessageId: '', userCode: '' }])
      await records.begin('w', [{ ...ref, entryId: `${number}-1`, turn: '' }])
      return { ...ref, fence: `R:1:${number}-1:w`, first: 1, events: ['{}'] }
    }),
  )
  const [one, ...crowd] = tasks as [(typeof tasks)[0], ...typeof tasks]
  const seen = await seenCommands(server.url)

  const answers = [
    await writer.commit(() => one),
    await writer.commit(() => ({ ...one, first: 2, end: { fence: endedFence(one.fence, 'COMPLETED'), fields: {} } })),
    ...(await Promise.all(crowd.map((task) => writer.commit(() => task)))),
  ]
  await bare.get(keys.data('over'))
  await waitFor(() => seen.some(({ args }) => args[0] === keys.data('over')), { message: 'what came last' })
  expect(answers.map(({ ok }) => ok)).toEqual([true, true, true, true])
  // To a server that does not know a script yet that is sent once more, as its text.
  const own = seen.find(({ name, args }) => name === 'evalsha' && args.includes(keys.task('s', 'm-1')))?.source
  expect(seen.flatMap(({ name, source }) => (source === own && name !== 'eval' ? [name] : []))).toEqual([
    ...['ping', 'evalsha'],
    ...['ping', 'evalsha'],
    'evalsha',
  ])
})
