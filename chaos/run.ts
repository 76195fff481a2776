// Chaos on demand: real workers, a real Redis, all sorts of trouble, and an audit at the end.
//
//   npm run chaos -- --seconds 300 --seed 7 --workers 4 --tasks 10000 --only kill,stop
//
// Exits with 1 if the audit finds anything. The same seed and options make the same plan again.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { audit, tally } from './auditor.ts'
import { conduct } from './conduct.ts'
import type { Finding } from './evidence.ts'
import { FAULTS, type FaultKind, makePlan, type PlanOptions, WORKLOADS } from './plan.ts'
import { LAYOUTS, type Layout } from './servers.ts'
import { Stage, type StageOptions, SUSPENSIONS } from './stage.ts'
import type { Trouble } from './trouble.ts'

const LEASE_MS = 1_000
const LONG = { seconds: 120, workers: 4, tasksPerSecond: 40, faultEveryMs: 1_200 }
const SHORT = { seconds: 20, workers: 3, tasksPerSecond: 40, faultEveryMs: 800 }
/** Where tasks are short there are so many times as many, and workers run fewer at a time, so that they take them ahead. */
const MORE_IN_BURSTS = 10
const CONCURRENCY_IN_BURSTS = 3
const MOST_SHOWN = 40

const USAGE = `npm run chaos -- [--short] [--seconds <n>] [--seed <n>] [--workers <n>] [--tasks <n>] [--every <ms>]
                 [--workload <${WORKLOADS.join('|')}>] [--suspend <${SUSPENSIONS.join('|')}>]
                 [--only <${FAULTS.join(',')}>] [--layout <${LAYOUTS.join('|')}>] [--keep]`

type Options = Omit<PlanOptions, 'lanes'> & StageOptions & { readonly layout: Layout }

function readOptions(): Options & { readonly keep: boolean } {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean', default: false } as const
  const { values } = parseArgs({
    options: {
      short: flag,
      keep: flag,
      layout: text,
      seconds: text,
      seed: text,
      workers: text,
      tasks: text,
      every: text,
      only: text,
      workload: text,
      suspend: text,
    },
  })
  const size = values.short ? SHORT : LONG
  const number = (value: string | undefined, otherwise: number) => {
    const parsed = value === undefined ? otherwise : Number(value)
    if (!Number.isInteger(parsed) || parsed < 1) throw new Error(`'${value}' is no whole number above 0\n${USAGE}`)
    return parsed
  }
  const only = (values.only ?? '').split(',').filter((kind) => kind !== '')
  const unknown = only.find((kind) => !(FAULTS as readonly string[]).includes(kind))
  if (unknown !== undefined) throw new Error(`there is no fault '${unknown}'\n${USAGE}`)
  const oneOf = <Name extends string>(names: readonly Name[], value = names[0]): Name => {
    const found = names.find((name) => name === value)
    if (found === undefined) throw new Error(`'${value}' is none of ${names.join(', ')}\n${USAGE}`)
    return found
  }
  const seconds = number(values.seconds, size.seconds)
  const workload = oneOf(WORKLOADS, values.workload as (typeof WORKLOADS)[number] | undefined)
  const layout = oneOf(LAYOUTS, values.layout as Layout | undefined)
  if (only.includes('redis-failover') && layout !== 'pair')
    throw new Error(`redis-failover needs --layout pair\n${USAGE}`)
  const tasksPerSecond = size.tasksPerSecond * (workload === 'bursts' ? MORE_IN_BURSTS : 1)
  return {
    ...{ seconds, keep: values.keep, only: only as FaultKind[], leaseMs: LEASE_MS },
    ...{ layout, isPair: layout === 'pair' },
    ...{ workload, ...(workload === 'bursts' ? { concurrency: CONCURRENCY_IN_BURSTS } : {}) },
    suspension: oneOf(SUSPENSIONS, values.suspend as (typeof SUSPENSIONS)[number] | undefined),
    seed: number(values.seed, 1 + Math.floor(Math.random() * 1_000_000)),
    workers: number(values.workers, size.workers),
    tasks: number(values.tasks, seconds * tasksPerSecond),
    faultEveryMs: number(values.every, size.faultEveryMs),
  }
}

function replayCommand(options: Options): string {
  const { seed, seconds, workers, tasks, faultEveryMs, only, workload, suspension, layout } = options
  const some = only.length > 0 ? ` --only ${only.join(',')}` : ''
  const size = `--seconds ${seconds} --workers ${workers} --tasks ${tasks} --every ${faultEveryMs}`
  return `npm run chaos -- --seed ${seed} ${size} --workload ${workload} --suspend ${suspension} --layout ${layout}${some}`
}

const began = performance.now()

function say(text: string): void {
  console.log(`${((performance.now() - began) / 1_000).toFixed(1).padStart(6)} s  ${text}`)
}

function printTable(rows: readonly (readonly [string, number])[]): void {
  const width = Math.max(...rows.map(([name]) => name.length))
  for (const [name, value] of rows) console.log(`  ${name.padEnd(width)}  ${String(value).padStart(7)}`)
}

function report(findings: readonly Finding[], counts: readonly (readonly [string, number])[]): void {
  const of = (check: Finding['check']) => findings.filter((finding) => finding.check === check).length
  printTable([
    ...counts,
    ['tasks lost', of('lost')],
    ['repeated ends, starts or events', of('repeated')],
    ['stale effects', of('stale')],
    ['other findings', findings.length - of('lost') - of('repeated') - of('stale')],
  ])
  for (const { check, ids, text } of findings.slice(0, MOST_SHOWN)) console.log(`${check}: ${ids.join(' ')}: ${text}`)
  if (findings.length > MOST_SHOWN) console.log(`… and ${findings.length - MOST_SHOWN} more`)
}

function faultCounts({ counts }: Trouble, stage: Stage): [string, number][] {
  const sum = (read: (member: Stage['members'][number]) => number) =>
    stage.members.reduce((total, member) => total + read(member), 0)
  return [
    ...FAULTS.map((kind): [string, number] => [`fault: ${kind}`, counts.get(kind) ?? 0]),
    ['calls of senders and readers that failed', stage.load.errors],
    ['processes that ended by an error', sum(({ deaths }) => deaths.length)],
    ['processes refused a name that another one has', sum(({ refused }) => refused)],
    ['processes that found no Redis when they started', sum(({ away }) => away)],
    ['processes told to stop before they listened', sum(({ unready }) => unready)],
    ['processes that did not stop in time', sum(({ overdue }) => overdue)],
  ]
}

/** Maps as lists of pairs, which JSON can carry. */
function asPairs(_: string, value: unknown): unknown {
  return value instanceof Map ? [...value] : value
}

async function main(): Promise<number> {
  const options = readOptions()
  console.log(`seed ${options.seed}; again: ${replayCommand(options)}`)
  const stage = await Stage.set(options)
  const quit = () => void stage.close().finally(() => process.exit(130))
  process.once('SIGINT', quit).once('SIGTERM', quit)
  let findings: readonly Finding[] = []
  try {
    const [evidence, trouble] = await conduct(makePlan({ ...options, lanes: await stage.hasLanes() }), stage, say)
    writeFileSync(join(stage.folder, 'evidence.json'), JSON.stringify(evidence, asPairs))
    findings = audit(evidence)
    report(findings, [...Object.entries(tally(evidence)), ...faultCounts(trouble, stage)])
    for (const death of stage.members.flatMap(({ deaths }) => deaths)) console.log(`ended by an error: ${death}`)
  } finally {
    await stage.close()
  }
  if (findings.length === 0 && !options.keep) stage.clear()
  else console.log(`journal and logs: ${stage.folder}`)
  console.log(findings.length === 0 ? 'clean' : `${findings.length} findings; again: ${replayCommand(options)}`)
  return findings.length === 0 ? 0 : 1
}

process.exitCode = await main()
