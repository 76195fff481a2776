import { Command, type Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import { ScriptCall } from '../../src/redis/script-call.ts'
import { openStore } from './harness.ts'

describe('the call of a script', () => {
  const long = 'é'.repeat(70_000)
  test.each([
    ['ASCII', ['0f', 2, 'key', 'other', '', 'x'.repeat(1_023), 'y'.repeat(1_024), -1.5]],
    ['Latin letters', ['0f', 0, 'caf\u00e9', long]],
    ['other scripts, and what is no character', ['0f', 0, '漢字', '\u{1f600}', '\ud800', '\0\r\n$3\r\n']],
    ['bytes', ['0f', 1, 'key', Buffer.from([0, 255, 13, 10])]],
    ['nothing besides', ['0f', 0]],
  ])('is on the wire what ioredis makes of it: %s', (_name, args) => {
    const plain = new Command('evalsha', args).toWritable({})
    const ours = new ScriptCall([...args]).toWritable({})
    expect(Buffer.from(ours as string)).toEqual(Buffer.from(plain as string))
  })

  test('leaves as bytes where each character is one', () => {
    expect(new ScriptCall(['0f', 0, 'plain']).toWritable({})).toBeInstanceOf(Buffer)
    expect(new ScriptCall(['0f', 0, 'caf\u00e9']).toWritable({})).toBeTypeOf('string')
  })

  test('is answered, or refused, like any command', async () => {
    const { bare } = openStore()
    const call = (...args: (string | number)[]) => bare.sendCommand(new ScriptCall(args))
    const sha = (await bare.script('LOAD', 'return {KEYS[1], ARGV[1]}')) as string
    expect(await call(sha, 1, 'key', 'caf\u00e9')).toEqual(['key', 'caf\u00e9'])
    await expect(call('f'.repeat(40), 0)).rejects.toThrow(/^NOSCRIPT/)
  })

  test('is not for a client of another ioredis', () => {
    expect(ScriptCall.suits(openStore().bare)).toBe(true)
    expect(ScriptCall.suits({ sendCommand: () => undefined } as unknown as Redis)).toBe(false)
  })
})
