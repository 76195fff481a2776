import type { HistoryMessage, HistoryPage, HistoryStore, NewHistoryMessage } from '../agent/history.ts'
import { errorMessage, GatewayError } from '../errors.ts'
import { checkId } from '../protocol/ids.ts'
import { Batcher } from '../util/batcher.ts'
import { checkMessages, checkPage, jsonFault } from './check.ts'
import {
  type PostgresHistoryOptions,
  type ResolvedPostgresOptions,
  resolvePostgresOptions,
} from './postgres-options.ts'
import { isTableAtFault, PostgresPool } from './postgres-pool.ts'
import { lengthOf, type NewRow, type StoredRow, toJson, toMessage, toRow, withoutStale } from './postgres-rows.ts'
import { ensureSchema, tryLock } from './postgres-schema.ts'
import { type HistoryStatements, ROWS_PER_DELETE, statementsFor } from './postgres-sql.ts'

export type { PostgresHistoryOptions } from './postgres-options.ts'

/** Most appends that go into one statement, and about how many characters. */
const APPENDS_PER_STATEMENT = 256
const LENGTH_PER_STATEMENT = 4 * 1_048_576

/** The rows of one call, and about how many characters they take. */
interface Append {
  readonly rows: readonly NewRow[]
  readonly length: number
}

/** Why an append was refused, if it was. */
type Answer = GatewayError | undefined

/**
 * A history in Postgres: for all workers and clients, for as long as one likes. What is appended at the same time goes
 * into one statement. Makes its table when it is first used.
 */
export class PostgresHistory implements HistoryStore, AsyncDisposable {
  readonly name: string
  readonly #options: ResolvedPostgresOptions
  readonly #pool: PostgresPool
  readonly #statements: HistoryStatements
  readonly #batcher: Batcher<Append, Answer>
  #ready: Promise<void> | undefined
  #retention: NodeJS.Timeout | undefined
  #isClosed = false

  /** @throws GatewayError `GW_INVALID_ARGUMENT` that names the option, also when the package `pg` is missing. */
  constructor(options: PostgresHistoryOptions) {
    this.#options = resolvePostgresOptions(options)
    this.name = `postgres.${this.#options.table}`
    this.#pool = new PostgresPool(this.#options)
    this.#statements = statementsFor(this.#options.table)
    this.#batcher = new Batcher<Append, Answer>({
      maxItems: APPENDS_PER_STATEMENT,
      maxWeight: LENGTH_PER_STATEMENT,
      weigh: ({ length }) => length,
      run: (appends) => this.#insert(appends),
    })
  }

  /** Connects and sees to the table now rather than with the first message. @throws GatewayError `GW_HISTORY_FAILED`. */
  async open(): Promise<void> {
    if (this.#isClosed) throw new GatewayError('GW_CLOSED', { what: 'history' })
    this.#ready ??= this.#prepare()
    try {
      await this.#ready
    } catch (error) {
      this.#ready = undefined // the next one tries again
      throw error
    }
  }

  async append(sessionId: string, messages: readonly NewHistoryMessage[]): Promise<void> {
    checkId('sessionId', sessionId)
    checkMessages(messages)
    try {
      const rows = messages.map((message) => toRow(sessionId, message))
      await this.#batcher.add({ rows, length: lengthOf(rows) })
    } catch (error) {
      throw jsonFault(messages) ?? error
    }
  }

  async list(sessionId: string, page?: HistoryPage): Promise<readonly HistoryMessage[]> {
    const { limit, before } = checkPage(sessionId, page)
    await this.open()
    const { newest, earlier } = this.#statements
    const rows = await (before === undefined
      ? this.#run<StoredRow>('a read', newest, [sessionId, limit])
      : this.#run<StoredRow>('a read', earlier, [sessionId, limit, before.time, before.number]))
    return rows.reverse().map((row) => toMessage(sessionId, row))
  }

  async clear(sessionId: string): Promise<void> {
    checkId('sessionId', sessionId)
    await this.open()
    for (let gone = ROWS_PER_DELETE; gone >= ROWS_PER_DELETE; ) {
      const [row] = await this.#run<{ count: number }>('a deletion', this.#statements.clear, [sessionId])
      gone = row?.count ?? 0
    }
  }

  /**
   * Removes what is older than `retentionDays`, piece by piece; done by itself, too, every `retentionCheckMs`. Answers how
   * many messages went; what another process is at is left to it.
   */
  async prune(): Promise<number> {
    const { retentionDays, table, statementTimeoutMs } = this.#options
    if (retentionDays === undefined) return 0
    await this.open()
    let total = 0
    for (let gone = ROWS_PER_DELETE; gone >= ROWS_PER_DELETE && !this.#isClosed; total += gone) {
      gone = await this.#pool.transact('a clean-up', { statementMs: statementTimeoutMs }, async (client) => {
        if (!(await tryLock(client, table))) return 0
        const { rows } = await client.query<{ count: number }>(this.#statements.prune.text, [retentionDays])
        return rows[0]?.count ?? 0
      })
    }
    return total
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#retention)
    await this.#pool.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #prepare(): Promise<void> {
    const { table, migrate, prepare, logger, retentionDays, retentionCheckMs } = this.#options
    const hasRetention = retentionDays !== undefined
    await ensureSchema(this.#pool, { table, migrate, logger, hasRetention, byTransaction: !prepare })
    if (retentionDays === undefined || this.#isClosed || this.#retention !== undefined) return
    const prune = () =>
      void this.prune().catch((error: unknown) => {
        if (!this.#isClosed) logger.warn({ err: error, table }, 'old messages were not removed, trying again later')
      })
    this.#retention = setInterval(prune, retentionCheckMs)
    this.#retention.unref()
  }

  async #run<Row extends object>(...call: Parameters<PostgresPool['run']>): Promise<Row[]> {
    try {
      return await this.#pool.run<Row>(...call)
    } catch (error) {
      // Dropped, or restored as it once was: the next one sees to it again.
      if (isTableAtFault(error)) this.#ready = undefined
      throw error
    }
  }

  /** What is to be written is not refused for good, whatever the table lacks: that can be mended. */
  async #openToWrite(): Promise<void> {
    try {
      await this.open()
    } catch (error) {
      if (!isRefusal(error)) throw error
      throw new GatewayError('GW_HISTORY_FAILED', { operation: 'a write', reason: error.message }, { cause: error })
    }
  }

  async #insert(appends: readonly Append[]): Promise<Answer[]> {
    await this.#openToWrite()
    const rows = withoutStale(appends.flatMap((append) => append.rows))
    try {
      if (rows.length > 0) await this.#run('a write', this.#statements.insert, [textOf(rows)])
      return appends.map(() => undefined)
    } catch (error) {
      if (!isRefusal(error)) throw error
      if (appends.length === 1) return [error]
      // One of them is at fault, and the others are not to suffer for it.
      const answers: Answer[] = []
      for (const append of appends) answers.push(...(await this.#insert([append])))
      return answers
    }
  }
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` for what JSON has no text for, such as a circle. */
function textOf(rows: readonly NewRow[]): string {
  try {
    return toJson(rows)
  } catch (cause) {
    throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'messages', reason: errorMessage(cause) }, { cause })
  }
}

function isRefusal(error: unknown): error is GatewayError {
  return error instanceof GatewayError && error.code === 'GW_INVALID_ARGUMENT'
}
