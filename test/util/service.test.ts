import { expect, test } from 'vitest'
import { Service } from '../../src/service.ts'
import { deferred } from '../../src/util/deferred.ts'

class Recorder extends Service {
  readonly calls: string[] = []
  readonly starting = deferred()
  readonly stopping = deferred()
  protected override async onStart() {
    this.calls.push('start')
    await this.starting.promise
  }
  protected override async onStop() {
    this.calls.push('stop')
    await this.stopping.promise
  }
}

test('starts once and stops once, however often it is asked', async () => {
  const service = new Recorder()
  expect(service.isRunning).toBe(false)
  service.starting.resolve()
  service.stopping.resolve()
  await Promise.all([service.start(), service.start()])
  await service.start()
  expect(service.isRunning).toBe(true)
  await Promise.all([service.stop(), service.stop(), service[Symbol.asyncDispose]()])
  await service.stop()
  expect(service.isRunning).toBe(false)
  expect(service.calls).toEqual(['start', 'stop'])
})

test('stop waits until it really stands still', async () => {
  const service = new Recorder()
  service.starting.resolve()
  await service.start()
  let stopped = false
  const stop = service.stop().then(() => {
    stopped = true
  })
  await new Promise(setImmediate)
  expect(stopped).toBe(false)
  service.stopping.resolve()
  await stop
  expect(stopped).toBe(true)
})

test('stop during the start waits for the start and then stops', async () => {
  const service = new Recorder()
  const start = service.start()
  service.stopping.resolve()
  const stop = service.stop()
  await new Promise(setImmediate)
  expect(service.calls).toEqual(['start'])
  service.starting.resolve()
  await Promise.all([start, stop])
  expect(service.calls).toEqual(['start', 'stop'])
})

test('a failed start is told to who started, and leaves nothing to stop', async () => {
  const service = new Recorder()
  service.starting.reject(new Error('no server'))
  await expect(service.start()).rejects.toThrow('no server')
  expect(service.isRunning).toBe(false)
  await service.stop()
  expect(service.calls).toEqual(['start'])
})

test('stopping what never started does no harm, and it stays stopped', async () => {
  const service = new Recorder()
  service.starting.resolve()
  await service.stop()
  await service.start()
  expect(service.isRunning).toBe(false)
  expect(service.calls).toEqual([])
})
