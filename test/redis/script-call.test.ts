import { Command, type Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import { ScriptCall } from '../../src/redis/script-call.ts'
import { openStore } from './harness.ts'

describe('the call of a script', () => {
  const toBytes = (command: Command) => Buffer.from(command.toWritable({}) as string)

  test.each([
    ['ASCII', ['key', 'other'], ['', 'x'.repeat(1_023), 'y'.repeat(1_024), -1.5, 12]],
    ['Latin letters', ['caf\u00e9'], ['é'.repeat(70_000)]],
    ['other scripts, and what is no character', [], ['漢字', '\u{1f600}', '\ud800', '\0\r\n$3\r\n']],
    ['nothing besides', [], []],
  ])('is on the wire what ioredis makes of it: %s', (_name, keys, args) => {
    const plain = new Command('evalsha', ['0f', keys.length, ...keys, ...args])
    expect(toBytes(new ScriptCall('0f', keys, args))).toEqual(toBytes(plain))
  })

  test('leaves as bytes where each character is one', () => {
    expect(new ScriptCall('0f', [], ['plain']).toWritable()).toBeInstanceOf(Buffer)
    expect(new ScriptCall('0f', [], ['caf\u00e9']).toWritable()).toBeTypeOf('string')
  })

  test('is answered, or refused, like any command', async () => {
    const { bare } = openStore()
    const sha = (await bare.script('LOAD', 'return {KEYS[1], ARGV[1]}')) as string
    expect(await bare.sendCommand(new ScriptCall(sha, ['key'], ['caf\u00e9']))).toEqual(['key', 'caf\u00e9'])
    await expect(bare.sendCommand(new ScriptCall('f'.repeat(40), [], []))).rejects.toThrow(/^NOSCRIPT/)
  })

  test('knows its keys, by which a Cluster finds the server', () => {
    expect(new ScriptCall('0f', ['a', 'b'], ['c']).getKeys()).toEqual(['a', 'b'])
  })

  test('is not for a client of another ioredis', () => {
    expect(ScriptCall.suits(openStore().bare)).toBe(true)
    expect(ScriptCall.suits({ sendCommand: () => undefined } as unknown as Redis)).toBe(false)
  })
})
