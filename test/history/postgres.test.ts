import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { PostgresHistory, type PostgresHistoryOptions } from '../../src/history/postgres.ts'
import { type LocalPostgres, startLocalPostgres } from '../../src/testing/servers/postgres.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { bringPrograms, INSTALL_TIMEOUT_MS } from '../support/programs.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { memoryLogger } from '../worker/harness.ts'
import { freshSession, historyContract } from './contract.ts'

let postgres: LocalPostgres

beforeAll(async () => {
  await bringPrograms()
  postgres = await startLocalPostgres({ fresh: true })
}, INSTALL_TIMEOUT_MS)
afterAll(() => postgres.stop())

const freshTable = () => `t_${crypto.randomUUID().replaceAll('-', '')}`

function open(options: Partial<PostgresHistoryOptions> = {}): PostgresHistory {
  const logger = memoryLogger()
  const history = new PostgresHistory({ connectionString: postgres.url, table: freshTable(), logger, ...options })
  onTestFinished(() => history.close())
  return history
}

async function sql<Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> {
  const client = new Client({ connectionString: postgres.url })
  await client.connect()
  try {
    return (await client.query<Row>(text, values)).rows
  } finally {
    await client.end()
  }
}

const LEGACY = (table: string) => `CREATE TABLE ${table} (id bigserial PRIMARY KEY, session_id varchar(128) NOT NULL,
  role varchar(32) NOT NULL, content text NOT NULL, metadata jsonb, created_at timestamptz NOT NULL DEFAULT now())`

describe('by contract', () => {
  let shared: string
  beforeAll(() => {
    shared = freshTable()
  })
  historyContract(async () => open({ table: shared }))
})

describe('the table', () => {
  test('is made by whoever comes first, however many come at once', async () => {
    const table = freshTable()
    const stores = Array.from({ length: 6 }, () => open({ table, retentionDays: 30 }))
    await Promise.all(stores.map((store, index) => store.append('s', [{ role: 'user', content: `${index}` }])))
    expect(await stores[0]?.list('s')).toHaveLength(6)
    const indexes = await sql<{ name: string }>('SELECT indexname AS name FROM pg_indexes WHERE tablename = $1', [
      table,
    ])
    expect(indexes.map(({ name }) => name).sort()).toEqual(
      [`${table}_age_idx`, `${table}_once_idx`, `${table}_order_idx`, `${table}_pkey`].sort(),
    )
  })

  test('lies in a schema, if one is named', async () => {
    const schema = freshTable()
    const history = open({ table: `${schema}.Messages` })
    await history.append('s', [{ role: 'user', content: 'x' }])
    expect(await sql(`SELECT content FROM ${schema}."Messages"`)).toEqual([{ content: 'x' }])
    await history.open()
  })

  test('of an older SDK is taken over with what is in it, and its writers go on', async () => {
    const table = freshTable()
    await sql(LEGACY(table))
    const write = (content: string) =>
      sql(`INSERT INTO ${table} (session_id, role, content) VALUES ('s', 'user', $1)`, [content])
    await write('before')
    const history = open({ table })
    await history.append('s', [{ role: 'assistant', content: 'answer', messageId: 'm', fencingToken: 1 }])
    await write('after')
    await write('')
    expect((await history.list('s')).map(({ role, content, messageId }) => [role, content, messageId])).toEqual([
      ['user', 'before', ''],
      ['assistant', 'answer', 'm'],
      ['user', 'after', ''],
      ['user', '', ''],
    ])
    const session = 'x'.repeat(256)
    await history.append(session, [{ role: 'user', content: 'long', messageId: 'm' }])
    expect(await history.list(session)).toHaveLength(1)
  })

  test('keeps rich content in full, and its words for those who read only these', async () => {
    const table = freshTable()
    const history = open({ table })
    const rich = [{ role: 'user', content: { text: 'look at this', files: [{ fileUrl: 'u' }], resources: [] } }]
    await history.append('s', [{ role: 'user', content: rich, metadata: { a: 1 } }])
    expect(await sql(`SELECT content, metadata FROM ${table}`)).toEqual([
      { content: 'look at this', metadata: { a: 1 } },
    ])
    expect(await history.list('s')).toMatchObject([{ content: rich }])
  })

  test('is not touched without leave: then what is missing is said', async () => {
    const table = freshTable()
    await sql(LEGACY(table))
    await expect(open({ table, migrate: false }).open()).rejects.toMatchObject({
      code: 'GW_INVALID_ARGUMENT',
      message: expect.stringMatching(
        /migrate is false; missing: .*ADD COLUMN IF NOT EXISTS message_id .*varchar\(256\)/,
      ),
    })
    await open({ table }).open()
    await open({ table, migrate: false }).open()
  })

  test('is changed in as much time as it takes', async () => {
    const table = freshTable()
    await sql(LEGACY(table))
    const client = new Client({ connectionString: postgres.url })
    await client.connect()
    await client.query(`BEGIN; LOCK TABLE ${table}`)
    const opened = open({ table, statementTimeoutMs: 1_000 }).open()
    opened.catch(() => undefined)
    await waitFor(async () => (await sql('SELECT 1 FROM pg_locks WHERE NOT granted')).length > 0)
    await pause(3_000) // longer than any other statement may take
    await client.end()
    await opened
  })

  test.each([{ prepare: true }, { prepare: false }])(
    'is waited for no longer than until the close, if another process is at it: %j',
    async ({ prepare }) => {
      const table = freshTable()
      const client = new Client({ connectionString: postgres.url })
      await client.connect()
      onTestFinished(() => client.end())
      await client.query('SELECT pg_advisory_lock($1, hashtext($2))', [0x6279636c, table])
      const history = open({ table, prepare })
      const opened = history.open()
      const refused = expect(opened).rejects.toMatchObject({ code: 'GW_CLOSED' })
      await pause(300)
      const closed = history.close().then(() => 'closed')
      expect(await Promise.race([closed, pause(3_000, 'still waits', { ref: false })])).toBe('closed')
      await refused
    },
  )

  test('of another kind is refused', async () => {
    const table = freshTable()
    await sql(`CREATE TABLE ${table} (id int)`)
    await expect(open({ table }).open()).rejects.toMatchObject({
      code: 'GW_INVALID_ARGUMENT',
      details: { field: 'table', value: table, reason: 'it has no column session_id' },
    })
  })

  test('gets an index again whose making was broken off', async () => {
    const table = freshTable()
    await open({ table }).open()
    await sql(`UPDATE pg_index SET indisvalid = false WHERE indexrelid = '${table}_order_idx'::regclass`)
    await open({ table }).append('s', [{ role: 'user', content: 'x' }])
    const rows = await sql(`SELECT indisvalid FROM pg_index WHERE indexrelid = '${table}_order_idx'::regclass`)
    expect(rows).toEqual([{ indisvalid: true }])
  })

  test('needs no rights over it where nothing is missing', async () => {
    const [table, account] = [freshTable(), freshTable()]
    await open({ table }).open()
    await sql(`CREATE ROLE ${account} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ${table} TO ${account};
      GRANT USAGE ON SEQUENCE ${table}_id_seq TO ${account}`)
    const url = new URL(postgres.url)
    url.username = account
    const history = open({ table, connectionString: url.href })
    await history.append('s', [{ role: 'user', content: 'x' }])
    await history.clear('s')
    expect(await history.list('s')).toEqual([])
  })
})

describe('old messages', () => {
  const age = (table: string, days: number) =>
    sql(`UPDATE ${table} SET created_at = now() - $1::int * interval '1 day'`, [days])

  test('go after so many days, by one process at a time', async () => {
    const table = freshTable()
    const [one, two] = [open({ table, retentionDays: 30 }), open({ table, retentionDays: 30 })]
    const many = Array.from({ length: 6_000 }, (_, index) => ({ role: 'user', content: `${index}` }) as const)
    await one.append('s', many)
    await age(table, 31)
    await one.append('s', [{ role: 'user', content: 'young' }])
    const removed = await Promise.all([one.prune(), two.prune()])
    expect(removed.reduce((sum, count) => sum + count, 0)).toBe(6_000)
    expect(await two.list('s')).toMatchObject([{ content: 'young' }])
    expect(await two.prune()).toBe(0)
  })

  test('go by themselves', async () => {
    const table = freshTable()
    const history = open({ table, retentionDays: 1, retentionCheckMs: 50 })
    await history.append('s', [{ role: 'user', content: 'old' }])
    await age(table, 2)
    await waitFor(async () => (await history.list('s')).length === 0)
  })

  test('stay, if nothing is said', async () => {
    const table = freshTable()
    const history = open({ table })
    await history.append('s', [{ role: 'user', content: 'old' }])
    await age(table, 20_000)
    expect(await history.prune()).toBe(0)
    expect(await history.list('s')).toHaveLength(1)
  })
})

describe('trouble', () => {
  test('one message that the table refuses harms no other', async () => {
    const table = freshTable()
    const history = open({ table })
    await history.open()
    await sql(`ALTER TABLE ${table} ADD CHECK (content <> 'forbidden')`)
    const append = (content: string) => history.append('s', [{ role: 'user', content }])
    const outcomes = await Promise.allSettled(['a', 'forbidden', 'b', 'c'].map(append))
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
    await expect(append('forbidden')).rejects.toMatchObject({
      code: 'GW_INVALID_ARGUMENT',
      message: expect.stringContaining('23514'),
    })
    expect(await history.list('s')).toHaveLength(3)
  })

  test('nor does one that is too large for what somebody has built on the table', async () => {
    const table = freshTable()
    const history = open({ table })
    await history.open()
    await sql(`CREATE INDEX ON ${table} (content)`)
    const append = (content: string) => history.append('s', [{ role: 'user', content }])
    const large = randomBytes(20_000).toString('hex')
    const [small, refused] = await Promise.allSettled([append('a'), append(large)])
    expect(small.status).toBe('fulfilled')
    expect(refused).toMatchObject({
      reason: { code: 'GW_INVALID_ARGUMENT', message: expect.stringContaining('54000') },
    })
  })

  test('nor does one that cannot be written as JSON', async () => {
    const history = open()
    const append = (metadata: Record<string, unknown>) =>
      history.append('s', [{ role: 'user', content: 'a', metadata }])
    const outcomes = await Promise.allSettled([append({ n: 1 }), append({ n: 1n }), append({ n: 2 })])
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(outcomes[1]).toMatchObject({ reason: { code: 'GW_INVALID_ARGUMENT' } })
    expect(await history.list('s')).toHaveLength(2)
  })

  test('nor does one of many backslashes, which takes no longer than its length', async () => {
    const history = open()
    const content = `${'\\'.repeat(100_000)}u0000 \0`
    const began = performance.now()
    await history.append('s', [{ role: 'user', content }])
    expect(performance.now() - began).toBeLessThan(5_000)
    expect(await history.list('s')).toMatchObject([{ content: content.replace('\0', '\ufffd') }])
  })

  test('nor do two whose ids become one where they are stored', async () => {
    const history = open()
    const append = (messageId: string) =>
      history.append('s', [{ role: 'user', messageId, content: messageId[0] ?? '' }])
    await Promise.all([append('a\0'), append('a\ud800'), append('b')])
    expect((await history.list('s')).map(({ messageId }) => messageId)).toEqual(['a\ufffd', 'b'])
  })

  test('large ones go in several statements, whatever of them it is that is large', async () => {
    const { Pool } = (await import('pg')).default
    const pool = new Pool({ connectionString: postgres.url })
    onTestFinished(() => pool.end())
    const lengths: number[] = []
    pool.on('connect', (client) => {
      const query = client.query.bind(client) as (...args: unknown[]) => unknown
      const spied = (config: { values?: unknown[] }, ...rest: unknown[]) => {
        lengths.push(String(config.values?.[0] ?? '').length)
        return query(config, ...rest)
      }
      client.query = spied as typeof client.query
    })
    const history = new PostgresHistory({ pool, table: freshTable(), logger: memoryLogger() })
    const large = 'x'.repeat(1_000_000)
    const rich = { role: 'user', content: { text: 'look at this', files: [large] } } as const
    const metadata = { role: 'user', content: 'look at that', metadata: { large } } as const
    await Promise.all(Array.from({ length: 12 }, (_, index) => history.append('s', [index % 2 ? rich : metadata])))
    expect(await history.list('s')).toHaveLength(12)
    expect(Math.max(...lengths)).toBeGreaterThan(1_000_000)
    expect(Math.max(...lengths)).toBeLessThan(6_000_000)
  })

  test('a database that is not there is said in plain words', async () => {
    const history = open({ connectionString: 'postgres://postgres@127.0.0.1:1/postgres' })
    await expect(history.list('s')).rejects.toMatchObject({
      code: 'GW_HISTORY_FAILED',
      message: expect.stringContaining('127.0.0.1:1'),
    })
  })

  test('a statement that takes too long is given up', async () => {
    const table = freshTable()
    const history = open({ table, statementTimeoutMs: 1_000 })
    await history.open()
    const client = new Client({ connectionString: postgres.url })
    await client.connect()
    await client.query(`BEGIN; LOCK TABLE ${table}`)
    await expect(history.append('s', [{ role: 'user', content: 'x' }])).rejects.toMatchObject({
      code: 'GW_HISTORY_FAILED',
      message: expect.stringContaining('57014'),
    })
    await client.end()
    await history.append('s', [{ role: 'user', content: 'y' }])
    expect(await history.list('s')).toMatchObject([{ content: 'y' }])
  })

  test('a restart and a crash of the server are survived', { timeout: 60_000 }, async () => {
    // What is committed must be on the disk here, which the tests' servers do not wait for otherwise.
    const own = await startLocalPostgres({ fresh: true, args: ['-c', 'synchronous_commit=on'] })
    onTestFinished(() => own.stop())
    const history = open({ connectionString: own.url })
    const append = (content: string) => history.append('s', [{ role: 'user', content }])
    await append('before')
    await own.restart()
    await append('between')
    own.kill('SIGQUIT') // at once, with all its processes, and without putting its house in order
    await waitFor(() => own.pid === undefined)
    await expect(append('away')).rejects.toMatchObject({ code: 'GW_HISTORY_FAILED' })
    await own.restart()
    await waitFor(
      () =>
        append('after').then(
          () => true,
          () => false,
        ),
      { timeoutMs: 20_000 },
    )
    expect((await history.list('s')).map(({ content }) => content)).toEqual(['before', 'between', 'after'])
  })

  test.each([
    ['is gone', (table: string) => `DROP TABLE ${table}`],
    ['was restored as an older SDK had it', (table: string) => `DROP TABLE ${table}; ${LEGACY(table)}`],
    ['has lost an index', (table: string) => `DROP INDEX ${table}_once_idx`],
  ])('a table that %s is put right again, without a new start', async (_, damage) => {
    const table = freshTable()
    const history = open({ table })
    const append = (content: string) => history.append('s', [{ role: 'user', messageId: 'm', content }])
    await append('before')
    await sql(damage(table))
    await expect(append('meanwhile')).rejects.toMatchObject({ code: 'GW_HISTORY_FAILED' })
    await append('after')
    expect(await history.list('s')).toMatchObject([{ content: 'after' }])
  })

  test('a closed one says so', async () => {
    const history = open()
    await history.close()
    await expect(history.list('s')).rejects.toMatchObject({ code: 'GW_CLOSED' })
    await expect(history.append('s', [{ role: 'user', content: 'x' }])).rejects.toMatchObject({ code: 'GW_CLOSED' })
  })
})

describe('options', () => {
  test.each([
    ['connectionString', {}],
    ['table', { connectionString: 'postgres://x', table: 'a; DROP TABLE b' }],
    ['table', { connectionString: 'postgres://x', table: 'a.b.c' }],
    ['retentionDays', { connectionString: 'postgres://x', retentionDays: 0 }],
    ['maxConnections', { connectionString: 'postgres://x', maxConnections: 0 }],
    ['colour', { connectionString: 'postgres://x', colour: 'red' }],
  ])('%s is refused by name: %j', (field, options) => {
    expect(() => new PostgresHistory(options as PostgresHistoryOptions)).toThrow(
      expect.objectContaining({ code: 'GW_INVALID_ARGUMENT', details: expect.objectContaining({ field }) }),
    )
  })

  test.each([
    'nonsense',
    '',
    'localhost:5432/chats',
    'user:hunter2@localhost/chats',
    'mysql://user:hunter2@localhost/chats',
    'postgres:/user:hunter2@localhost/chats',
    'postgres://user:hunter2/@localhost/chats',
    'postgres://user:hunter2#@localhost/chats',
    'postgres://user:hunter2@localhost:many/chats',
    new URL('postgres://user:hunter2@localhost/chats'),
    42,
  ])('what is no connection string is refused at once, and not shown: %s', (connectionString) => {
    let refusal: unknown
    try {
      new PostgresHistory({ connectionString } as PostgresHistoryOptions)
    } catch (error) {
      refusal = error
    }
    const details = expect.objectContaining({
      field: 'connectionString',
      reason: expect.stringContaining('postgres://'),
    })
    expect(refusal).toMatchObject({ code: 'GW_INVALID_ARGUMENT', details })
    expect(inspect(refusal)).not.toContain('hunter2')
  })

  test.each([
    'postgres://localhost/chats',
    'postgresql://user:p%2Fss@localhost:5432/chats?sslmode=verify-full',
    'postgres://user:secret@/chats?host=/run/postgresql',
    'postgres://%2Frun%2Fpostgresql/chats',
    'postgres://[::1]:5432/chats',
    'postgres:///chats',
    'socket:/run/postgresql?db=chats',
    '/run/postgresql chats',
  ])('all forms of a connection string that pg knows are taken: %s', async (connectionString) => {
    expect(new Client({ connectionString })).toBeInstanceOf(Client)
    const history = new PostgresHistory({ connectionString })
    await history.close()
  })

  test('at most so many connections are opened', async () => {
    const history = open({ maxConnections: 2, connectionString: `${postgres.url}?application_name=counted` })
    await Promise.all(Array.from({ length: 50 }, () => history.list(freshSession())))
    const [row] = await sql<{ count: string }>(
      "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted'",
    )
    expect(Number(row?.count)).toBeLessThanOrEqual(2)
    expect(Number(row?.count)).toBeGreaterThan(0)
  })

  test('a statement that takes too long is given up in a pool of one’s own, too', async () => {
    const { Pool } = (await import('pg')).default
    const pool = new Pool({ connectionString: postgres.url })
    onTestFinished(() => pool.end())
    const table = freshTable()
    const history = new PostgresHistory({ pool, table, statementTimeoutMs: 500, logger: memoryLogger() })
    await history.open()
    const client = new Client({ connectionString: postgres.url })
    await client.connect()
    onTestFinished(() => client.end())
    await client.query(`BEGIN; LOCK TABLE ${table}`)
    const kept = Promise.resolve(history.append('s', [{ role: 'user', content: 'x' }])).then(
      () => 'kept',
      (error) => error.code,
    )
    expect(await Promise.race([kept, pause(5_000, 'still waits', { ref: false })])).toBe('GW_HISTORY_FAILED')
    await client.query('ROLLBACK')
    await history.append('t', [{ role: 'user', content: 'y' }])
    expect(await history.list('t')).toMatchObject([{ content: 'y' }])
  })

  test.each([
    ['the table is looked at', { prepare: true, isOpen: false }],
    ['a message is on its way', { prepare: false, isOpen: true }],
  ])('a pool of one’s own whose connection falls silent when %s is given up, and serves again', async (_, given) => {
    const { Pool } = (await import('pg')).default
    const { prepare, isOpen } = given
    const table = freshTable()
    await open({ table }).open()
    const url = new URL(postgres.url)
    const proxy = await TcpProxy.start(Number(url.port))
    onTestFinished(() => proxy.stop())
    url.port = String(proxy.port)
    const pool = new Pool({ connectionString: url.href })
    onTestFinished(() => pool.end())
    const history = new PostgresHistory({ pool, table, prepare, statementTimeoutMs: 500, logger: memoryLogger() })
    await (isOpen ? history.open() : pool.query('SELECT 1'))
    proxy.blackHole(() => true)
    const kept = Promise.resolve(history.append('s', [{ role: 'user', content: 'x' }])).then(
      () => 'kept',
      (error) => error.code,
    )
    expect(await Promise.race([kept, pause(5_000, 'still waits', { ref: false })])).toBe('GW_HISTORY_FAILED')
    await history.append('t', [{ role: 'user', content: 'y' }])
    expect(await history.list('t')).toMatchObject([{ content: 'y' }])
    expect(pool.idleCount).toBe(pool.totalCount)
  })

  test.each([{ prepare: true }, { prepare: false }])(
    'a pool of one’s own that has no connection to give is waited for as long as is said: %j',
    async ({ prepare }) => {
      const { Pool } = (await import('pg')).default
      const pool = new Pool({ connectionString: postgres.url, max: 1 })
      onTestFinished(() => pool.end())
      const limits = { prepare, connectTimeoutMs: 300 }
      const history = new PostgresHistory({ pool, table: freshTable(), ...limits, logger: memoryLogger() })
      await history.open()
      const held = await pool.connect()
      const kept = Promise.resolve(history.append('s', [{ role: 'user', content: 'x' }])).then(
        () => 'kept',
        (error) => error.message,
      )
      const read = history.list('s').catch((error) => error.message)
      const limit = pause(5_000, 'still waits', { ref: false })
      const outcomes = await Promise.all([kept, read].map((outcome) => Promise.race([outcome, limit])))
      held.release()
      for (const outcome of outcomes) expect(outcome).toContain('no connection within 300 ms')
      await history.append('t', [{ role: 'user', content: 'y' }])
      expect(await history.list('t')).toMatchObject([{ content: 'y' }])
      // Those that came too late went back.
      await waitFor(() => pool.idleCount === 1 && pool.waitingCount === 0)
    },
  )

  test('a pool of one’s own serves, and stays open', async () => {
    const { Pool } = (await import('pg')).default
    const pool = new Pool({ connectionString: postgres.url })
    onTestFinished(() => pool.end())
    const { logger } = { logger: memoryLogger() }
    const history = new PostgresHistory({ pool, table: freshTable(), prepare: false, logger })
    await history.append('s', [{ role: 'user', content: 'x' }])
    expect(await history.list('s')).toHaveLength(1)
    await history.close()
    expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  })
})
