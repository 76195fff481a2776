import { expect, test } from 'vitest'
import { FAULTS, makePlan, type PlanOptions } from '../../chaos/plan.ts'
import { Random } from '../../chaos/random.ts'

const OPTIONS: PlanOptions = {
  ...{
    seed: 1,
    seconds: 60,
    tasks: 500,
    workers: 3,
    leaseMs: 1_000,
    only: [],
    faultEveryMs: 500,
    lanes: true,
    workload: 'mixed',
  },
}

test('the same seed makes the same plan, another one another', () => {
  expect(makePlan(OPTIONS)).toEqual(makePlan(OPTIONS))
  expect(makePlan({ ...OPTIONS, seed: 2 })).not.toEqual(makePlan(OPTIONS))
})

test('a plan without some faults has the same tasks and readers', () => {
  const all = makePlan(OPTIONS)
  const some = makePlan({ ...OPTIONS, only: ['kill'] })
  expect(some.tasks).toEqual(all.tasks)
  expect(some.readers).toEqual(all.readers)
  expect(new Set(some.faults.map(({ kind }) => kind))).toEqual(new Set(['kill']))
})

test('a long plan has every kind of work and of fault, within its time', () => {
  const { tasks, faults } = makePlan({ ...OPTIONS, isPair: true, seconds: 600, tasks: 2_000 })
  expect(new Set(tasks.map(({ work }) => work.kind)).size).toBe(10)
  expect(new Set(faults.map(({ kind }) => kind))).toEqual(new Set(FAULTS))
  expect(Math.max(...faults.map(({ atMs }) => atMs), ...tasks.map(({ atMs }) => atMs))).toBeLessThan(600_000)
})

test('only where Redis has a replica the two change places', () => {
  const { faults } = makePlan({ ...OPTIONS, seconds: 600 })
  expect(new Set(faults.map(({ kind }) => kind))).toEqual(new Set(FAULTS.filter((kind) => kind !== 'redis-failover')))
})

test('tasks that come in bursts come at few moments, and most are short', () => {
  const { tasks } = makePlan({ ...OPTIONS, workload: 'bursts', tasks: 5_000 })
  expect(new Set(tasks.map(({ atMs }) => atMs)).size).toBeLessThan(40)
  expect(tasks.filter(({ work }) => work.kind === 'quick').length).toBeGreaterThan(4_500)
  expect(new Set(tasks.map(({ work }) => work.kind))).toContain('cpu')
})

test('random numbers are spread over their range, and streams of other names are others', () => {
  const random = new Random(7, 'a')
  const numbers = Array.from({ length: 10_000 }, () => random.integer(1, 10))
  for (let each = 1; each <= 10; each += 1) {
    const share = numbers.filter((number) => number === each).length / numbers.length
    expect(share).toBeGreaterThan(0.08)
    expect(share).toBeLessThan(0.12)
  }
  expect(new Random(7, 'b').next()).not.toBe(new Random(7, 'a').next())
})
