import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Stage } from '../../src/store/stages.ts'
import { type TakenTask, Upcoming } from '../../src/worker/upcoming.ts'

function taken(waitMs: number, messageId = `m-${waitMs}`, data = '{}'): TakenTask {
  const ref = { sessionId: 's', messageId, turn: '0' }
  return {
    item: { ...ref, kind: 'ready', capability: 'agent', priority: 'normal', data },
    waitMs,
    dueAt: 1_000 + waitMs,
  }
}

describe('tasks that are held until they are due', () => {
  test('are let go in the order of their times, each once and none too early, however they came', () => {
    const takes = fc.array(fc.array(fc.nat(100), { maxLength: 20 }), { maxLength: 10 })
    fc.assert(
      fc.property(takes, fc.array(fc.nat(150), { maxLength: 10 }), (waits, looks) => {
        const upcoming = new Upcoming()
        waits.forEach((part, index) => {
          // A take is in order.
          const inOrder = part.toSorted((one, other) => one - other)
          upcoming.add(
            inOrder.map((wait, i) => taken(wait, `m-${wait}-${index}-${i}`)),
            0,
            10,
          )
        })
        const gone: string[] = []
        for (const now of looks.toSorted((one, other) => one - other)) {
          const due = upcoming.takeDue(now).map(({ item }) => item.messageId)
          expect(due.every((id) => Number(id.split('-')[1]) + 10 <= now)).toBe(true)
          gone.push(...due)
          expect(upcoming.nextAt).toBeGreaterThan(now)
        }
        gone.push(...upcoming.clear().map(({ item }) => item.messageId))
        expect(new Set(gone).size).toBe(waits.flat().length)
        const times = gone.map((id) => Number(id.split('-')[1]))
        expect(times).toEqual(times.toSorted((one, other) => one - other))
      }),
    )
  })

  test('go with a stage that is due by the clock of the server, though they were taken a little later', () => {
    const upcoming = new Upcoming()
    const [first, second, other] = [1_005, 1_005, 1_007].map((dueAt) => ({ dueAt }) as Stage)
    const names = (tasks: readonly TakenTask[]) => tasks.map(({ item }) => item.messageId)
    upcoming.add([{ ...taken(5, 'first'), stage: first }, taken(5, 'alone')], 10, 12)
    upcoming.add(
      [
        { ...taken(5, 'second'), stage: second },
        { ...taken(7, 'other'), stage: other },
      ],
      11,
      13,
    )
    expect(upcoming.nextAt).toBe(15)
    // What lies on no stage would come too early.
    expect(names(upcoming.takeDue(15))).toEqual(['first', 'second'])
    expect(upcoming.nextAt).toBe(17)
    expect(names(upcoming.takeDue(17))).toEqual(['alone'])
    expect(names(upcoming.clear())).toEqual(['other'])
  })

  test('have a bound in number and in weight, and room again when they are gone', () => {
    const upcoming = new Upcoming()
    upcoming.add(
      Array.from({ length: 10_000 }, (_, i) => taken(5, `m-${i}`)),
      0,
      0,
    )
    expect(upcoming.hasRoom).toBe(false)
    expect(upcoming.takeDue(5)).toHaveLength(10_000)
    expect(upcoming.hasRoom).toBe(true)
    upcoming.add([taken(5, 'heavy', 'x'.repeat(4_194_304))], 0, 0)
    expect(upcoming.hasRoom).toBe(false)
    expect(upcoming.clear()).toHaveLength(1)
    expect(upcoming.hasRoom).toBe(true)
  })
})
