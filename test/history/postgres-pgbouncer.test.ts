import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest'
import { PostgresHistory, type PostgresHistoryOptions } from '../../src/history/postgres.ts'
import { type LocalPostgres, startLocalPostgres } from '../../src/testing/servers/postgres.ts'
import { waitFor } from '../../src/testing/wait-for.ts'
import { byclaw } from '../cli/support/program.ts'
import { PGBOUNCER, type PgBouncer, startPgBouncer } from '../support/pgbouncer.ts'
import { bringPrograms, INSTALL_TIMEOUT_MS } from '../support/programs.ts'
import { memoryLogger } from '../worker/harness.ts'
import { historyContract } from './contract.ts'

const missing = PGBOUNCER === undefined
const title = `behind PgBouncer in transaction mode${missing ? ' (skipped: no program pgbouncer on this machine)' : ''}`

describe.skipIf(missing)(title, () => {
  let postgres: LocalPostgres
  let bouncer: PgBouncer

  beforeAll(async () => {
    await bringPrograms()
    postgres = await startLocalPostgres({ fresh: true })
    bouncer = await startPgBouncer(postgres.url)
  }, INSTALL_TIMEOUT_MS)
  afterAll(async () => {
    await bouncer?.stop()
    await postgres?.stop()
  })

  const freshTable = () => `t_${crypto.randomUUID().replaceAll('-', '')}`

  function open(options: Partial<PostgresHistoryOptions> = {}): PostgresHistory {
    const defaults = { connectionString: bouncer.url, table: freshTable(), prepare: false, logger: memoryLogger() }
    const history = new PostgresHistory({ ...defaults, ...options })
    onTestFinished(() => history.close())
    return history
  }

  /** Straight to the server. */
  async function connected(): Promise<Client> {
    const client = new Client({ connectionString: postgres.url })
    await client.connect()
    return client
  }

  async function sql<Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> {
    const client = await connected()
    try {
      return (await client.query<Row>(text, values)).rows
    } finally {
      await client.end()
    }
  }

  /** What whoever gets one of the server's connections next finds on them. */
  async function leftBehind(): Promise<unknown> {
    const client = new Client({ connectionString: bouncer.url })
    await client.connect()
    const found = new Set<string>()
    for (let round = 0; round < 6; round += 1) {
      const { rows } = await client.query<{ limits: string }>(
        "SELECT current_setting('statement_timeout') || ' ' || current_setting('lock_timeout') AS limits",
      )
      found.add(rows[0]?.limits ?? '')
    }
    await client.end()
    return { limits: [...found], locks: await sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory'") }
  }
  const NOTHING = { limits: ['0 0'], locks: [] }

  describe('by contract', () => {
    let shared: string
    beforeAll(() => {
      shared = freshTable()
    })
    historyContract(async () => open({ table: shared }))
  })

  test('the table is made by whoever comes first, however many come at once, and nothing is left on a connection', async () => {
    const table = freshTable()
    const stores = Array.from({ length: 6 }, () => open({ table, retentionDays: 30, maxConnections: 1 }))
    // One that comes past the pooler has a lock of another kind, which is the same.
    stores.push(open({ table, retentionDays: 30, connectionString: postgres.url, prepare: true }))
    await Promise.all(stores.map((store, index) => store.append('s', [{ role: 'user', content: `${index}` }])))
    expect(await stores[0]?.list('s')).toHaveLength(7)
    const indexes = await sql<{ name: string }>('SELECT indexname AS name FROM pg_indexes WHERE tablename = $1', [
      table,
    ])
    expect(indexes).toHaveLength(4)
    expect(await leftBehind()).toEqual(NOTHING)
  })

  test('the table of an older SDK is taken over', async () => {
    const table = freshTable()
    await sql(`CREATE TABLE ${table} (id bigserial PRIMARY KEY, session_id varchar(128) NOT NULL,
      role varchar(32) NOT NULL, content text NOT NULL, metadata jsonb, created_at timestamptz NOT NULL DEFAULT now())`)
    await sql(`INSERT INTO ${table} (session_id, role, content) VALUES ('s', 'user', 'before')`)
    const history = open({ table })
    await history.append('s', [{ role: 'assistant', content: 'answer', messageId: 'm' }])
    expect((await history.list('s')).map(({ content }) => content)).toEqual(['before', 'answer'])
    await open({ table, migrate: false }).open()
  })

  test('a statement that takes too long is given up, and leaves nothing', async () => {
    const table = freshTable()
    const history = open({ table, statementTimeoutMs: 500 })
    await history.open()
    const client = await connected()
    await client.query(`BEGIN; LOCK TABLE ${table}`)
    await expect(history.append('s', [{ role: 'user', content: 'x' }])).rejects.toMatchObject({
      code: 'GW_HISTORY_FAILED',
      message: expect.stringContaining('57014'),
    })
    await client.end()
    await history.append('s', [{ role: 'user', content: 'y' }])
    expect(await history.list('s')).toMatchObject([{ content: 'y' }])
    expect(await leftBehind()).toEqual(NOTHING)
  })

  test('one message that the table refuses harms no other', async () => {
    const table = freshTable()
    const history = open({ table })
    await history.open()
    await sql(`ALTER TABLE ${table} ADD CHECK (content <> 'forbidden')`)
    const append = (content: string) => history.append('s', [{ role: 'user', content }])
    const outcomes = await Promise.allSettled(['a', 'forbidden', 'b'].map(append))
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(await history.list('s')).toHaveLength(2)
  })

  test('old messages go, by one process at a time', async () => {
    const table = freshTable()
    const [one, two] = [open({ table, retentionDays: 30 }), open({ table, retentionDays: 30 })]
    const many = Array.from({ length: 6_000 }, (_, index) => ({ role: 'user', content: `${index}` }) as const)
    await one.append('s', many)
    await sql(`UPDATE ${table} SET created_at = now() - interval '31 days'`)
    const removed = await Promise.all([one.prune(), two.prune()])
    expect(removed.reduce((sum, count) => sum + count, 0)).toBe(6_000)
    const client = await connected()
    await client.query('SELECT pg_advisory_lock($1, hashtext($2))', [0x6279636c, table])
    await sql(`INSERT INTO ${table} (session_id, role, content, created_at) VALUES ('s', 'user', '', '2000-01-01')`)
    expect(await one.prune()).toBe(0)
    await client.end()
    await waitFor(async () => (await two.prune()) === 1)
    expect(await leftBehind()).toEqual(NOTHING)
  })

  test('byclaw is told by a switch', async () => {
    const table = freshTable()
    await open({ table }).append('s', [{ role: 'user', content: 'behind a pooler' }])
    const ask = ['history', 's', '--history-url', bouncer.url, '--history-table', table]
    const env = { REDIS_URL: inject('redisUrl') }
    const told = await byclaw([...ask, '--history-pooler'], { env })
    expect(told.stderr + told.stdout).toContain('behind a pooler')
    expect(told.code).toBe(0)
    expect(await byclaw(ask, { env })).toMatchObject({ code: 1, stderr: expect.stringContaining('--history-pooler') })
  })

  test('who has not said so is told what to do', async () => {
    await expect(open({ prepare: true }).open()).rejects.toMatchObject({
      code: 'GW_HISTORY_FAILED',
      message: expect.stringContaining('prepare must be false'),
    })
  })
})
