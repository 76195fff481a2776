import { tmpdir } from 'node:os'
import { describe, expect, test } from 'vitest'
import { GatewayWorker } from '../../src/agent/worker.ts'
import { createLogger } from '../../src/logger.ts'
import { isWorkerClass, type RunWorkerOptions, resolveWorkerOptions } from '../../src/worker/options.ts'
import { runWorker } from '../../src/worker/run-worker.ts'
import { FunctionWorker } from './harness.ts'

class Agent extends GatewayWorker {
  override getCapabilities() {
    return ['agent']
  }
  override async processCommand() {
    return null
  }
}

test('the defaults are those of the contract', () => {
  const options = resolveWorkerOptions({ workerClass: Agent })
  expect(options).toMatchObject({
    ...{ keyPrefix: 'queue', consumerGroup: 'agent_engines', maxConcurrency: 50, fetchCount: 10, leaseMs: 5_000 },
    ...{
      shutdownTimeoutMs: 30_000,
      cancelGraceMs: 30_000,
      handleSignals: false,
      workspaceDir: `${tmpdir()}/byclaw-workspace`,
    },
    ...{ redis: { kind: 'standalone', target: '127.0.0.1:6379/0' }, worker: expect.any(Agent) },
  })
  expect(options.taskTimeoutMs).toBeUndefined()
  expect(options.workerId).toMatch(new RegExp(`-${process.pid}-[0-9a-f]{8}$`))
  expect(Object.isFrozen(options)).toBe(true)
  expect(resolveWorkerOptions({ workerClass: Agent }).workerId).not.toBe(options.workerId)
})

describe('what is wrong is refused with its name and value', () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ workerClass: undefined }, /^workerClass is invalid: workerClass or worker must be given/],
    [{ worker: new Agent() }, /^worker and workerClass is invalid: only one/],
    [{ workerClass: undefined, worker: {} }, /^worker is invalid/],
    [{ workerClass: class {} }, /^workerClass is invalid/],
    [{ workerClass: () => null }, /^workerClass is invalid/],
    [{ workerId: 'a b' }, /^workerId is invalid.*"a b"/],
    [{ maxConcurrency: 0 }, /^maxConcurrency is invalid.*0/],
    [{ maxConcurrency: 1.5 }, /^maxConcurrency is invalid.*1\.5/],
    [{ maxConcurrency: 5_001 }, /^maxConcurrency is invalid.*5001/],
    [{ maxConcurrency: '8' }, /^maxConcurrency is invalid.*"8"/],
    [{ fetchCount: 0 }, /^fetchCount is invalid/],
    [{ leaseMs: 99 }, /^leaseMs is invalid/],
    [{ taskTimeoutMs: 0 }, /^taskTimeoutMs is invalid/],
    [{ shutdownTimeoutMs: -1 }, /^shutdownTimeoutMs is invalid/],
    [{ keyPrefix: '' }, /^keyPrefix is invalid/],
    [{ keyPrefix: 'a{b' }, /^keyPrefix is invalid/],
    [{ consumerGroup: '' }, /^consumerGroup is invalid/],
    [{ consumerGroup: ' ' }, /^consumerGroup is invalid: must not be blank \(got " "\)/],
    [{ workspaceDir: '' }, /^workspaceDir is invalid: must not be blank \(got ""\)/],
    [{ workspaceDir: '\t' }, /^workspaceDir is invalid: must not be blank/],
    [{ pluginDir: '  ' }, /^pluginDir is invalid: must not be blank \(got " {2}"\)/],
    [{ plugins: [' '] }, /^plugins\.0 is invalid: must not be blank \(got " "\)/],
    [{ handleSignals: 'yes' }, /^handleSignals is invalid/],
    [{ maxConcurency: 5 }, /^maxConcurency is invalid/],
    [{ logger: {} }, /^logger is invalid: has no method debug/],
    [{ logger: console }, /^logger is invalid: has no method child/],
    [{ redis: 'http://localhost' }, /^redis is invalid/],
    [{ leaseMs: Number.NaN }, /^leaseMs is invalid/],
    [{ taskTimeoutMs: Number.POSITIVE_INFINITY }, /^taskTimeoutMs is invalid/],
    [{ retry: 5 }, /^retry is invalid.*\(got 5\)/],
    [{ retry: { maxAttempts: 0 } }, /^retry\.maxAttempts is invalid.*\(got 0\)/],
    [{ retry: { maxAttempt: 3 } }, /^retry\.maxAttempt is invalid.*\(got 3\)/],
    [{ retry: { backoff: 5 } }, /^retry\.backoff is invalid: must be a function, or a rule.*\(got 5\)/],
    [{ retry: { backoff: { type: 'fixed', delayMs: 'x' } } }, /^retry\.backoff\.delayMs is invalid.*\(got "x"\)/],
    [{ retry: { backoff: { type: 'linear', delayMs: 5 } } }, /^retry\.backoff\.type is invalid.*\(got "linear"\)/],
    [{ retry: { capabilities: { a: { maxAttempts: 'x' } } } }, /^retry\.capabilities\.a\.maxAttempts is invalid/],
    [{ plugins: [null] }, /^plugins\.0 is invalid: must be a plugin, or the name of one \(got null\)/],
    [{ one: 1, two: 2 }, /^one, two is invalid/],
  ]
  test.each(cases)('%j', (change, message) => {
    expect(() => resolveWorkerOptions({ workerClass: Agent, ...change } as RunWorkerOptions)).toThrow(message)
  })

  test.each([
    [[], /^getCapabilities\(\) is invalid/],
    ['echo', /^getCapabilities\(\) is invalid: must be an array of names and contracts \(got "echo"\)$/],
    [undefined, /^getCapabilities\(\) is invalid: must be an array/],
    [['a b'], /^capability is invalid.*"a b"/],
    [[7], /^capability is invalid.*7/],
    [['worker'], /^capability is invalid: this name is reserved \(got "worker"\)$/],
    [[{}], /^capability is invalid/],
    [[null], /^capability is invalid/],
    [[{ agentType: 'echo' }], /^capability is invalid: must be a contract, which defineAgent makes/],
  ])('capabilities %j', async (capabilities, message) => {
    const worker = new FunctionWorker(capabilities as string[], () => null)
    await expect(runWorker({ worker, logger: createLogger('silent') })).rejects.toThrow(message)
  })
})

test.each(['taskTimeoutMs', 'shutdownTimeoutMs', 'connectTimeoutMs'])(
  '%s: what no timer can hold is refused, not taken for no time at all',
  (field) => {
    // setTimeout makes 1 ms of what does not fit into 31 bits, and 30 days do not.
    const days = 30 * 86_400_000
    expect(() => resolveWorkerOptions({ workerClass: Agent, [field]: days })).toThrow(
      new RegExp(`^${field} is invalid`),
    )
  },
)

test('a class is a worker’s, or not', () => {
  class Child extends Agent {}
  expect([Agent, Child].map(isWorkerClass)).toEqual([true, true])
  expect([class {}, () => null, {}, null, undefined, 'x', new Agent()].map(isWorkerClass)).toEqual(
    Array.from({ length: 7 }, () => false),
  )
})

test('a handler may be a field of its class; a worker without one is refused', () => {
  class Bound extends GatewayWorker {
    override getCapabilities() {
      return ['agent']
    }
    override processCommand = async () => null
  }
  expect(resolveWorkerOptions({ workerClass: Bound }).worker).toBeInstanceOf(Bound)
  class Idle extends (GatewayWorker as unknown as new () => Agent) {
    override getCapabilities() {
      return ['agent']
    }
  }
  const options = [{ worker: new Idle() }, { workerClass: Idle }] as const
  for (const given of options) {
    const [field] = Object.keys(given)
    expect(() => resolveWorkerOptions(given)).toThrow(new RegExp(`^${field} is invalid: has no method processCommand$`))
  }
  expect(() => resolveWorkerOptions({ workerClass: GatewayWorker as unknown as typeof Agent })).toThrow(
    'must be a class that extends GatewayWorker',
  )
})
