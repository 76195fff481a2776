import { type ChildProcess, spawn } from 'node:child_process'
import { expect } from 'vitest'
import { compareEntryIds } from '../../../src/redis/streams.ts'
import { onTestFinished } from '../../support/on-test-finished.ts'
import { plainProgram } from '../../support/plain-program.ts'
import type { House } from '../harness.ts'

const CHILD = plainProgram(new URL('../fixtures/durable-worker.ts', import.meta.url))

/** Worker processes that are started again when they die. */
export class Crew {
  readonly #house: House
  readonly #args: { leaseMs: number; suspendAfterMs: number; lifespan: number }
  readonly #members = new Set<ChildProcess>()
  #isOver = false
  deaths = 0
  strikes = 0

  /** @param lifespan - At which of its bad moments a worker kills itself, on average; `Infinity` for never. */
  constructor(house: House, args: { leaseMs: number; suspendAfterMs: number; lifespan: number }) {
    this.#house = house
    this.#args = args
    onTestFinished(() => this.end())
  }

  get pids(): number[] {
    return [...this.#members].map(({ pid }) => pid as number)
  }

  /** From now on nobody dies of himself. */
  calm(): void {
    this.#args.lifespan = Number.POSITIVE_INFINITY
  }

  /** Kills one of them, or lets him stand still for longer than his leases last, so that he comes back as a ghost. */
  strike(): void {
    const pid = this.pids[Math.floor(Math.random() * this.#members.size)]
    if (pid === undefined) return
    this.strikes += 1
    if (Math.random() < 0.5) {
      signal(pid, 'SIGKILL')
      return
    }
    signal(pid, 'SIGSTOP')
    setTimeout(() => signal(pid, 'SIGCONT'), this.#args.leaseMs * 2.5)
  }

  hire(): void {
    if (this.#isOver) return
    const { leaseMs, suspendAfterMs, lifespan } = this.#args
    const args = [this.#house.url, this.#house.prefix, leaseMs, suspendAfterMs, lifespan].map(String)
    const child = spawn(process.execPath, [CHILD, ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    this.#members.add(child)
    child.once('exit', () => {
      this.#members.delete(child)
      if (this.#isOver) return
      this.deaths += 1
      this.hire()
    })
  }

  async end(): Promise<void> {
    this.#isOver = true
    const gone = [...this.#members].map((child) => new Promise((resolve) => child.once('exit', resolve)))
    for (const child of this.#members) child.kill('SIGKILL')
    await Promise.all(gone)
  }
}

/** One that is gone needs no signal. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

type Event = Record<string, unknown> & {
  id: string
  event_type: string
  message_id: string
  data: Record<string, unknown>
}

/** The events of a session with their ids. */
export async function rawEvents(house: House, sessionId: string): Promise<Event[]> {
  const entries = await house.redis.xrange(house.keys.data(sessionId), '-', '+')
  return entries.map(([id, fields]) => ({ id, ...JSON.parse(fields[fields.indexOf('data') + 1] as string) }))
}

/** What stands of what a task has said, as a reader who obeys its rewinds has it. */
export function folded(events: readonly Event[], messageId: string): Event[] {
  let standing: Event[] = []
  for (const event of events) {
    if (event.message_id !== messageId) continue
    if (event.event_type === 'rewind') {
      standing = standing.filter(({ id }) => compareEntryIds(id, String(event.data.to_id)) <= 0)
    } else standing.push(event)
  }
  return standing
}

export function textOf(events: readonly Event[]): string {
  return events.map(({ event_type: type, data }) => (type === 'chunk' ? data.content : '')).join('')
}

const ROUNDS = [0, 1, 2]
const answerOf = (agent: string, content: string): string => {
  if (agent === 'leaf') return content.toUpperCase()
  const below = agent === 'parent' ? 'middle' : 'leaf'
  return ROUNDS.map((round) => ['a', 'b'].map((side) => answerOf(below, `${content}${round}${side}`)).join('')).join('')
}

/** What a task of the crew must have said and answered. */
function expectTask(agent: string, content: string, task: Record<string, string>, standing: readonly Event[]): void {
  expect(JSON.parse(task.result ?? 'null')).toBe(answerOf(agent, content))
  const rounds = ROUNDS.map((round) => `\\[${round} ${content}\\]\\(0\\.\\d+(?:e-\\d+)?\\)`)
  const said = agent === 'leaf' ? `<leaf ${content}>` : `${rounds.join('')}\\[end\\]`
  expect(textOf(standing)).toMatch(new RegExp(`^${said}$`))
  const states = standing.filter(({ event_type: type }) => type === 'state').map(({ data }) => data.state)
  expect(states).toEqual(agent === 'leaf' ? [] : ROUNDS.map((round) => `done ${round}`))
}

/** Everything about a session that ran from a parent with `content`: one task per call, each text exact, each end once. */
export async function audit(house: House, sessionId: string, content: string): Promise<void> {
  const events = await rawEvents(house, sessionId)
  const [open, ...ids] = await house.redis.zrange(house.keys.session(sessionId), '0', '-1')
  expect([open, ids.length]).toEqual(['', 1 + 6 + 36])
  expect(await house.redis.zscore(house.keys.session(sessionId), '')).toBe('0')
  const contents = new Map<string, string>()
  for (const id of ids) {
    const task = await house.redis.hgetall(house.keys.task(sessionId, id))
    expect(task.fence).toMatch(/^C:/)
    const own = events.filter((event) => event.message_id === id)
    expect(own.filter(({ event_type: type }) => type === 'done')).toHaveLength(1)
    expect(own.at(-1)?.event_type).toBe('done')
    const standing = folded(events, id)
    const said = agentContent(textOf(standing), content)
    contents.set(`${task.agent_type} ${said}`, id)
    expectTask(String(task.agent_type), said, task, standing)
  }
  // No call was made twice.
  expect(contents.size).toBe(ids.length)
  expect(await house.redis.keys(`${house.prefix}:journal:{${sessionId}}:*`)).toEqual([])
}

function agentContent(text: string, fallback: string): string {
  return /^(?:<leaf|\[0) ([^\]>]+)[\]>]/.exec(text)?.[1] ?? fallback
}
