import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { HistoryMessage, HistoryStore } from '../../src/agent/history.ts'
import { GatewayError } from '../../src/errors.ts'
import { MemoryHistory } from '../../src/history/memory.ts'
import { PostgresHistory } from '../../src/history/postgres.ts'
import { type LocalPostgres, startLocalPostgres } from '../../src/testing/servers/postgres.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { onTestFinished } from '../support/on-test-finished.ts'
import { plainProgram } from '../support/plain-program.ts'
import { bringPrograms, INSTALL_TIMEOUT_MS } from '../support/programs.ts'
import { House } from './harness.ts'

let postgres: LocalPostgres

beforeAll(async () => {
  await bringPrograms()
  postgres = await startLocalPostgres({ fresh: true, args: ['-c', 'synchronous_commit=on'] })
}, INSTALL_TIMEOUT_MS)
afterAll(() => postgres.stop())

const said = (messages: readonly HistoryMessage[]) => messages.map(({ role, content }) => [role, content])
const freshTable = () => `t_${crypto.randomUUID().replaceAll('-', '')}`
const lines = (house: House, text: string) => house.logger.lines.filter(({ message }) => message.includes(text))
const waits = (house: House, name: string) => house.redis.xlen(house.keys.historyBuffer(name).messages)
const ask = (house: House, sessionId: string, content: string) =>
  house.client().ask({ targetAgentType: 'agent', sessionId, content, timeoutMs: 15_000 })

function postgresHistory(url = postgres.url, table = freshTable(), migrate = true): PostgresHistory {
  const history = new PostgresHistory({ connectionString: url, table, migrate })
  onTestFinished(() => history.close())
  return history
}

/** A store that does as it is told. */
class Moody implements HistoryStore {
  readonly name = 'moody'
  readonly kept = new MemoryHistory()
  mood: 'well' | 'failing' | 'silent' | 'refusing' = 'well'

  async append(...[sessionId, messages]: Parameters<HistoryStore['append']>): Promise<void> {
    if (this.mood === 'failing') throw new Error('no disk')
    if (this.mood === 'silent') await new Promise(() => undefined)
    if (this.mood === 'refusing') throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'content', reason: 'rude' })
    this.kept.append(sessionId, messages)
  }

  list(...args: Parameters<HistoryStore['list']>) {
    if (this.mood === 'failing') return Promise.reject(new Error('no disk'))
    return this.kept.list(...args)
  }

  clear(sessionId: string) {
    return this.kept.clear(sessionId)
  }

  async close() {
    this.mood = 'well'
  }
}

describe.concurrent('a history that is down', () => {
  test.each(['failing', 'silent'] as const)(
    '%s: holds up no task and loses nothing; one line says so, one that it is back',
    { timeout: 60_000 },
    async (mood) => {
      const house = new House()
      const history = new Moody()
      history.mood = mood
      const worker = await house.work(({ content }) => `answer ${content}`, { history })
      const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => ask(house, `s-${index}`, `${index}`)))
      expect(answers.map(({ status }) => status)).toEqual(Array(20).fill('COMPLETED'))
      expect(worker.history).toEqual({ status: 'DOWN', putBy: 40, lost: 0 })
      expect(await waits(house, 'moody')).toBe(40)
      expect(await house.redis.pttl(house.keys.historyBuffer('moody').messages)).toBeGreaterThan(0)

      history.mood = 'well'
      // A write that is never answered is given up after ten seconds.
      await waitFor(() => worker.history.status === 'UP', { timeoutMs: 30_000 })
      await waitFor(async () => (await waits(house, 'moody')) === 0, { timeoutMs: 15_000 })
      for (const index of [0, 7, 19]) {
        expect(said(await history.kept.list(`s-${index}`))).toEqual([
          ['user', `${index}`],
          ['assistant', `answer ${index}`],
        ])
      }
      await waitFor(() => lines(house, 'the history is back').length === 1)
      expect(lines(house, 'the history is down')).toHaveLength(1)
      expect(lines(house, 'the history is back')[0]).toMatchObject({
        level: 'info',
        fields: { history: 'moody', told: expect.any(Number) },
      })
      expect(await house.redis.exists(house.keys.historyBuffer('moody').flusher)).toBe(0)
    },
  )

  test('is a clear error for a handler that reads it', async () => {
    const house = new House()
    const history = new Moody()
    history.mood = 'failing'
    await house.work(async (_command, context) => context.getHistory().catch((error) => error.message), { history })
    expect((await ask(house, 's', 'hi')).data).toBe('the history did not carry out a read: no disk')
  })

  test('is told by another worker, if the one that put something by is gone', async () => {
    const house = new House()
    const history = new Moody()
    history.mood = 'failing'
    const first = await house.work(() => 'answer', { history })
    await ask(house, 's', 'hi')
    await first.stop()
    expect(await waits(house, 'moody')).toBe(2)
    history.mood = 'well'
    await house.work(() => 'answer', { history, capabilities: ['other'] })
    await waitFor(async () => (await waits(house, 'moody')) === 0, { timeoutMs: 15_000 })
    expect(said(await history.kept.list('s'))).toEqual([
      ['user', 'hi'],
      ['assistant', 'answer'],
    ])
    await waitFor(() => lines(house, 'was told what waited').length === 1)
  })

  test('that does not answer holds up no stop', async () => {
    const house = new House()
    const history = new Moody()
    history.mood = 'silent'
    const worker = await house.work(() => 'answer', { history })
    expect((await ask(house, 's', 'hi')).status).toBe('COMPLETED')
    let isStopped = false
    const stopped = worker.stop().then(() => {
      isStopped = true
    })
    await waitFor(() => isStopped, { timeoutMs: 8_000 })
    await stopped
  })

  test('what waits for it and cannot be read is said and removed, and holds up nothing', async () => {
    const house = new House()
    const { messages } = house.keys.historyBuffer('moody')
    const broken = ['{', '{}', '{"session_id":"s"}', '{"session_id":5,"message":{}}']
    for (const data of broken) await house.redis.xadd(messages, '*', 'data', data)
    await house.redis.xadd(messages, '*', 'other', 'x')
    const history = new Moody()
    history.mood = 'failing'
    const worker = await house.work(() => 'answer', { history })
    await ask(house, 's', 'hi')
    history.mood = 'well'
    await waitFor(async () => (await waits(house, 'moody')) === 0)
    expect(said(await history.list('s'))).toEqual([
      ['user', 'hi'],
      ['assistant', 'answer'],
    ])
    expect(worker.history).toEqual({ status: 'UP', putBy: 2, lost: 5 })
    const told = lines(house, 'cannot be read').map(({ level, fields }) => [level, fields.data])
    expect(told).toEqual([...broken, ''].map((data) => ['error', data]))
  })

  test('what it refuses for good is said with its ids, and holds up nothing', async () => {
    const house = new House()
    const history = new Moody()
    history.mood = 'refusing'
    const worker = await house.work(() => 'answer', { history })
    const { messageId, status } = await ask(house, 's', 'hi')
    expect(status).toBe('COMPLETED')
    expect(worker.history).toEqual({ status: 'UP', putBy: 0, lost: 2 })
    expect(
      lines(house, 'a message is not in the history').map(({ level, fields }) => [
        level,
        fields.role,
        fields.messageId,
      ]),
    ).toEqual([
      ['error', 'user', messageId],
      ['error', 'assistant', messageId],
    ])
  })

  test('and lives in this process is never down: what it does not take is said with its ids, and it is told the next', async () => {
    const house = new House()
    const history = new MemoryHistory()
    const append = history.append.bind(history)
    history.append = (sessionId, messages) => {
      if (messages.some(({ content }) => content === 'bad')) throw new RangeError('no room')
      append(sessionId, messages)
    }
    const worker = await house.work((command) => command.content, { history })
    const { messageId } = await ask(house, 's', 'bad')
    await ask(house, 's', 'good')
    expect(worker.history).toEqual({ status: 'UP', putBy: 0, lost: 2 })
    expect(said(await history.list('s'))).toEqual([
      ['user', 'good'],
      ['assistant', 'good'],
    ])
    expect(lines(house, 'a message is not in the history').map(({ fields }) => fields)).toMatchObject([
      { sessionId: 's', messageId, role: 'user', reason: 'no room' },
      { sessionId: 's', messageId, role: 'assistant', reason: 'no room' },
    ])
  })

  test('and lives in this process may fail to forget a session, which is said, and holds up nothing', async () => {
    const house = new House()
    const history = new MemoryHistory()
    history.clear = () => {
      throw new Error('not that one')
    }
    await house.work((command) => command.content, { history })
    await ask(house, 's', 'hello')
    await house.client().deleteSession('s')
    await waitFor(() => lines(house, 'a deleted session was not forgotten').length === 1)
    expect(lines(house, 'reading the inbox failed')).toEqual([])
  })

  test('an answer that it refuses for good takes the question not with it', async () => {
    const house = new House()
    const history = new Moody()
    const worker = await house.work(() => 'answer', { history })
    await ask(house, 's', 'first')
    history.append = async (sessionId, messages) => {
      if (messages.some(({ role }) => role === 'assistant')) {
        throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'content', reason: 'rude' })
      }
      history.kept.append(sessionId, messages)
    }
    await ask(house, 's', 'second')
    expect(said(await history.kept.list('s'))).toEqual([
      ['user', 'first'],
      ['assistant', 'answer'],
      ['user', 'second'],
    ])
    expect(worker.history).toEqual({ status: 'UP', putBy: 0, lost: 1 })
  })

  test('what waits for it goes with a session that is deleted', async () => {
    const house = new House()
    const history = new Moody()
    history.mood = 'failing'
    // More than are looked at in one call lie before them.
    const older = house.redis.pipeline()
    const data = JSON.stringify({ session_id: 'older', message: { role: 'user', content: 'hi' } })
    for (let i = 0; i < 250; i += 1) older.xadd(house.keys.historyBuffer('moody').messages, '*', 'data', data)
    await older.exec()
    await house.work(() => 'answer', { history })
    await ask(house, 'gone', 'hi')
    await ask(house, 'kept', 'hi')
    await house.client({ history }).deleteSession('gone')
    expect(await waits(house, 'moody')).toBe(252)
    history.mood = 'well'
    await waitFor(async () => (await history.kept.list('kept')).length === 2, { timeoutMs: 15_000 })
    expect(await history.kept.list('gone')).toEqual([])
  })
})

describe.concurrent('Postgres', () => {
  test('that stops and comes back under load: every word of every task is there once', {
    timeout: 90_000,
  }, async () => {
    const own = await startLocalPostgres({ fresh: true, args: ['-c', 'synchronous_commit=on'] })
    onTestFinished(() => own.stop())
    const house = new House()
    const history = postgresHistory(own.url)
    const worker = await house.work(async ({ content }, context) => void context.emitChunk(`answer ${content}`), {
      history,
    })
    const client = house.client()
    const sent: string[] = []
    const batch = async (count: number) => {
      await Promise.all(
        Array.from({ length: count }, async () => {
          const number = sent.push('') - 1
          const { messageId } = await client.sendMessage({
            targetAgentType: 'agent',
            sessionId: `s-${number % 10}`,
            content: `${number}`,
          })
          sent[number] = messageId
        }),
      )
    }
    await batch(100)
    const restarting = own.restart()
    await batch(200)
    await restarting
    await batch(100)
    own.kill('SIGQUIT')
    await batch(100)
    await house.settled()
    await own.restart()
    await waitFor(async () => worker.history.status === 'UP' && (await waits(house, history.name)) === 0, {
      timeoutMs: 30_000,
    })
    expect(worker.history.lost).toBe(0)
    const all = (
      await Promise.all(Array.from({ length: 10 }, (_, index) => history.list(`s-${index}`, { limit: 1_000 })))
    ).flat()
    const expected = sent.flatMap((messageId, number) => [
      `user ${messageId} ${number}`,
      `assistant ${messageId} answer ${number}`,
    ])
    expect(all.map(({ role, messageId, content }) => `${role} ${messageId} ${content}`).sort()).toEqual(expected.sort())
  })

  test('without its table loses nothing: what is said, and what waited before, waits until the table is there', async () => {
    const house = new House()
    const table = freshTable()
    const history = postgresHistory(postgres.url, table, false)
    const first = await house.work(() => 'answer', { history })
    expect((await ask(house, 's', 'hi')).status).toBe('COMPLETED')
    expect(first.history).toEqual({ status: 'DOWN', putBy: 2, lost: 0 })
    await first.stop()
    const second = await house.work(() => 'answer', { history })
    await waitFor(() => second.history.status === 'DOWN')
    expect(second.history.lost).toBe(0)
    expect(await waits(house, history.name)).toBe(2)
    expect(lines(house, 'the history is down')[0]?.fields.reason).toMatch(/migrate is false; missing: CREATE TABLE/)
    await postgresHistory(postgres.url, table).open()
    await waitFor(async () => (await waits(house, history.name)) === 0, { timeoutMs: 15_000 })
    expect(said(await history.list('s'))).toEqual([
      ['user', 'hi'],
      ['assistant', 'answer'],
    ])
  })

  test('a worker that is killed in the middle: question once, answer once, that of the one who ended it', {
    timeout: 60_000,
  }, async () => {
    const house = new House()
    const history = postgresHistory()
    const first = await startWorker(house, history.name.slice('postgres.'.length), 'w-1')
    const client = house.client()
    const { messageId } = await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: 'hi' })
    await waitFor(() => first.lines.includes('begun'), { timeoutMs: 15_000 })
    await waitFor(async () => (await history.list('s')).length === 1)
    const second = await startWorker(house, history.name.slice('postgres.'.length), 'w-2')
    first.child.kill('SIGKILL')
    await waitFor(() => second.lines.includes('begun'), { timeoutMs: 15_000 })
    second.child.stdin?.write('go\n')
    await client.result({ sessionId: 's', messageId, timeoutMs: 15_000 })
    expect(said(await history.list('s'))).toEqual([
      ['user', 'hi'],
      ['assistant', 'half whole of w-2'],
    ])
    expect((await history.list('s')).every(({ fencingToken }) => fencingToken >= 2)).toBe(true)
  })

  test('a task that waits for a person, and whose worker is killed meanwhile, is told once', {
    timeout: 60_000,
  }, async () => {
    const house = new House()
    const history = postgresHistory()
    const table = history.name.slice('postgres.'.length)
    const first = await startWorker(house, table, 'w-1')
    const client = house.client()
    const { messageId } = await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: 'wait' })
    const ref = { sessionId: 's', messageId }
    await waitFor(async () => (await client.getTask(ref))?.status === 'WAITING_USER', { timeoutMs: 15_000 })
    first.child.kill('SIGKILL')
    const second = await startWorker(house, table, 'w-2')
    const [question] = await client.pendingAsks('s')
    await client.reply({ ...ref, askId: question?.askId ?? '', content: 'yes' })
    await waitFor(() => second.lines.includes('begun'), { timeoutMs: 15_000 })
    second.child.stdin?.write('go\n')
    await client.result({ ...ref, timeoutMs: 15_000 })
    expect(said(await history.list('s'))).toEqual([
      ['user', 'wait'],
      ['assistant', 'half whole of w-2'],
    ])
  })
})

const CHILD = plainProgram(new URL('fixtures/history-worker.ts', import.meta.url))

async function startWorker(
  house: House,
  table: string,
  workerId: string,
): Promise<{ child: ChildProcess; lines: string[] }> {
  const args = [CHILD, house.url, house.prefix, workerId, postgres.url, table]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const lines: string[] = []
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
  await waitFor(() => lines.includes('ready'), { timeoutMs: 30_000, message: 'the worker process to be ready' })
  return { child, lines }
}
