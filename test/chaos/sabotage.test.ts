import { expect, test } from 'vitest'
import { audit } from '../../chaos/auditor.ts'
import { conduct } from '../../chaos/conduct.ts'
import type { Act } from '../../chaos/durable/program.ts'
import type { Finding } from '../../chaos/evidence.ts'
import type { Plan } from '../../chaos/plan.ts'
import type { Sabotage } from '../../chaos/sabotage.ts'
import { Stage } from '../../chaos/stage.ts'

/** Speaks, waits for a task that sleeps, and so is suspended on the way, and speaks again. */
const acts: readonly Act[] = [
  { do: 'say', count: 3, pauseMs: 0 },
  {
    do: 'call',
    work: {
      kind: 'durable',
      acts: [
        { do: 'sleep', ms: 500 },
        { do: 'say', count: 2, pauseMs: 0 },
      ],
    },
  },
  { do: 'say', count: 3, pauseMs: 0 },
]

const tasks = [0, 1, 2, 3].map((index) => {
  const ids = { task: `t${index}`, session: `s${index}` }
  return { ...ids, atMs: 0, work: { kind: 'durable', acts } as const, persistent: true }
})
const readers = tasks.map(({ session }) => ({ reader: session, session, atMs: 0 }))
const plan: Plan = { tasks, readers, faults: [], poisonsAtMs: [] }

async function findings(sabotage?: Sabotage): Promise<readonly Finding[]> {
  const lost = sabotage === undefined ? {} : { sabotage }
  const stage = await Stage.set({ workers: 1, leaseMs: 5_000, suspension: 'soon', ...lost })
  try {
    const [evidence] = await conduct(plan, stage, () => undefined)
    expect(evidence.journal.filter(({ kind }) => kind === 'start').length).toBeGreaterThan(tasks.length * 2)
    return audit(evidence)
  } finally {
    await stage.close()
    stage.clear()
  }
}

test.concurrent('workers that hold nothing back say all twice, and the audit finds it; others are clean', async () => {
  const [clean, found] = await Promise.all([findings(), findings('words')])
  expect(clean).toEqual([])
  const doubled = found.filter(({ check, text }) => check === 'output' && /in place of|after its last word/.test(text))
  expect(new Set(doubled.map(({ ids }) => ids[1]))).toEqual(new Set(tasks.map(({ task }) => task)))
}, 120_000)

test.concurrent('workers that forget what they have called call twice, and the audit finds it', async () => {
  const found = await findings('calls')
  const doubled = found.filter(({ check, text }) => check === 'repeated' && text.includes('calls, but'))
  expect(doubled).not.toEqual([])
}, 120_000)
