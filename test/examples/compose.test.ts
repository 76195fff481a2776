import { spawnSync } from 'node:child_process'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startLocalRedis } from '../../src/testing/servers/redis.ts'
import { textOf } from '../ground/sources.ts'

const COMPOSE = textOf('docker-compose.yml')
const hasClient = spawnSync('redis-cli', ['--version']).status === 0

/** The words of the command behind a key of the file. */
function wordsAfter(key: string): string[] {
  const [, list] = new RegExp(`${key}: (\\[.*\\])`).exec(COMPOSE) ?? []
  return JSON.parse(list ?? '[]')
}

describe.skipIf(!hasClient)('the Redis of docker-compose.yml', () => {
  const [kind, program = '', ...args] = wordsAfter('test')

  async function checkOf(...settings: string[]): Promise<number | null> {
    const redis = await startLocalRedis({ fresh: true, args: settings })
    onTestFinished(() => redis.stop())
    return spawnSync(program, ['-p', String(redis.port), ...args]).status
  }

  test('is healthy with its own settings', async () => {
    const [, lines = ''] = /- redis-server\n([\s\S]*?) {4}ports:/.exec(COMPOSE) ?? []
    const settings = [...lines.matchAll(/- "?([^"\n]+)"?\n/g)].map(([, word]) => word ?? '')
    expect({ kind, settings: settings.length }).toEqual({ kind: 'CMD', settings: 6 })
    expect(await checkOf(...settings)).toBe(0)
  })

  test('is not while it answers with an error, as one does that loads its data', async () => {
    expect(await checkOf('--requirepass', 'secret')).not.toBe(0)
  })
})
