import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type LocalRedis, startLocalRedis } from '../../src/testing/servers/redis.ts'
import { filesIn, textOf } from '../ground/sources.ts'
import { plainExamples, runExample } from './run-node.ts'

const MOST_LINES = 60

/** What each example says, line by line. */
const SAID: Readonly<Record<string, readonly RegExp[]>> = {
  'examples/01-echo.ts': [/^echo answered: hello \(COMPLETED\)$/],
  'examples/02-streaming.ts': [/^Air scatters blue light .* from every side\.$/, /^COMPLETED {"tokens":15}$/],
  'examples/03-typed-contract.ts': [
    /^Beijing: 21, 22, 23 °C$/,
    /^REJECTED GW_CONTRACT_VIOLATION$/,
    /^content does not fit the contract of 'weather': place\.country: .*; days: .*<=7 .*$/,
  ],
  'examples/04-artifacts-and-states.ts': [
    /^state {5}collecting$/,
    /^data {6}{"city":"Beijing","done":1,"of":3}$/,
    /^data {6}{"city":"Oslo","done":2,"of":3}$/,
    /^data {6}{"city":"Lima","done":3,"of":3}$/,
    /^state {5}writing$/,
    /^artifact {2}report\.csv, 22 bytes$/,
    /^done {6}COMPLETED$/,
  ],
  'examples/05-many-sessions.ts': [
    /^1000 sessions, 3000 chunks, 1000 ends, 0 wrong, in [\d.]+ s$/,
    /^5 connections on this thread: two of the client, three of the worker$/,
  ],
  'examples/06-call-an-agent.ts': [/^hallo \[FAILED: 'big' is not in the dictionary\] Welt$/],
  'examples/07-scatter-gather.ts': [
    /^{"best":{"name":"borealis","price":95},"statuses":\["COMPLETED","FAILED","COMPLETED"\]}$/,
  ],
  'examples/08-ask-a-person.ts': [
    /^This costs 120 €\. $/,
    /^May I buy it\? \(open\)$/,
    /^{"approved":"yes"} INVALID$/,
    /^{"approved":true,"limit":300} ACCEPTED$/,
    /^{"approved":false,"limit":0} (?:ALREADY_ANSWERED|CLOSED)$/,
    /^Bought\.$/,
    /^This costs 120 €\. Bought\.$/,
  ],
  'examples/09-a-step-that-crashes.ts': [
    /^the worker has ended: SIGKILL$/,
    /^Life 2 says it all\. {"plan":"made in life 1"}$/,
  ],
  'examples/10-sleep.ts': [
    /^the task sleeps, its worker has 0 tasks and goes home$/,
    /^I shall remind you\. Tea is ready!$/,
    /^{"sleptLongEnough":true,"by":"second"}$/,
  ],
  'examples/11-cancel-a-tree.ts': [
    /^CANCEL_REQUESTED$/,
    /^GW_CANCELLED: the task was cancelled: the user left$/,
    /^CANCELLED$/,
    ...[/^ {2}CANCELLED$/, /^ {4}CANCELLED$/, /^ {4}CANCELLED$/],
    ...[/^ {2}CANCELLED$/, /^ {4}CANCELLED$/, /^ {4}CANCELLED$/],
  ],
  'examples/12-plugin.ts': [
    /^prompt {4}You are a weather assistant\. Answer in English\.$/,
    /^tools {5}get_current_weather$/,
    /^hook {6}get_current_weather {"city":"Oslo"} ok$/,
    /^answer {4}4 °C {"weather":"1\.0\.0"}$/,
  ],
  'examples/13-hot-reload.ts': [
    /^1\.0\.0 {3}Hello Ada$/,
    /^2\.0\.0 {3}Welcome back, Ada$/,
    /^broken {2}Welcome back, Ada \(syntax error: Unterminated string literal \(greeter\.ts:\d+:\d+\)\)$/,
  ],
  'examples/14-mcp-tools.ts': [
    /^demo__echo takes message$/,
    /^demo__get-sum takes a,b$/,
    /^The sum of 19 and 23 is 42\.$/,
    /^{"fault":"tool 'get-sum' of MCP server 'demo': .*"}$/,
  ],
  'examples/15-history-in-postgres.ts': [
    /^Hello\. I remember 0 messages\.$/,
    /^Hello again, Ada\. I remember 2 messages\.$/,
    /^user: Who am I\?$/,
    /^assistant: Hello again, Ada\. I remember 2 messages\.$/,
    /^deleted: true, 2 tasks; 0 messages are left$/,
  ],
  'examples/16-a-fast-model.ts': [/^1000 tokens in \d\d? events: COMPLETED$/],
}

let redis: LocalRedis
const runPlain = plainExamples(Object.keys(SAID))

beforeAll(async () => {
  redis = await startLocalRedis({ fresh: true })
})
afterAll(() => redis.stop())

test('every numbered example is known here', () => {
  expect(filesIn('examples', '.ts').filter((path) => /\/\d/.test(path))).toEqual(Object.keys(SAID))
})

test.each(filesIn('examples', '.ts').filter((path) => !path.endsWith('/demo.ts')))('%s is short', (path) => {
  expect(textOf(path).trimEnd().split('\n').length).toBeLessThan(MOST_LINES)
})

describe('an example says what it should, ends by itself, and is silent otherwise', () => {
  test.each(Object.keys(SAID))('%s', async (path) => {
    const { code, stdout, stderr } = await runPlain(path, redis.url)
    expect(stderr).toBe('')
    expect(stdout.trimEnd().split('\n')).toEqual(SAID[path]?.map((line) => expect.stringMatching(line)))
    expect(code).toBe(0)
  })

  test('also with its types, and a second time on the same Redis', async () => {
    const { code, stdout } = await runExample('examples/02-streaming.ts', redis.url)
    expect(stdout.match(/Air scatters/g)).toHaveLength(1)
    expect(code).toBe(0)
  })

  test('also without REDIS_URL, on a private Redis', async () => {
    const { code, stdout, stderr } = await runPlain('examples/01-echo.ts')
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'echo answered: hello (COMPLETED)\n', stderr: '' })
  })

  test('and fails in plain words when REDIS_URL leads nowhere', async () => {
    const { code, stderr } = await runPlain('examples/01-echo.ts', 'redis://127.0.0.1:1')
    expect(stderr).toContain('127.0.0.1:1')
    expect(code).toBe(1)
  })
})
