// A worker's process is killed at each of its Redis calls in turn, right before it and right after it; another worker
// finishes, and the audit must find nothing.
//
//   npm run chaos:crash-points -- --every 1 --from 1 --to 200 --load durable
//
// Goes on until whole runs pass without coming to the point. Exits with 1 if any audit finds anything.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startLocalRedis } from '../src/testing/servers/redis.ts'
import { CRASH_LOADS, type CrashLoad, type CrashOutcome, CrashRun } from './crash-run.ts'

const PARALLEL = 3
/** How many calls are made differs a little from run to run: so many runs in a row must pass. */
const PASSES = 3
/** A run takes a while: after so many points it says how far it has come, so that one that is broken off says something. */
const TELL_EVERY = 50

interface Options {
  readonly every: number
  readonly from: number
  readonly to: number
  readonly keep: boolean
  readonly loads: readonly CrashLoad[]
}

function readOptions(): Options {
  const text = (otherwise: string) => ({ type: 'string', default: otherwise }) as const
  const { values } = parseArgs({
    options: {
      ...{ every: text('1'), from: text('1'), to: text('1000'), load: { type: 'string' } },
      keep: { type: 'boolean', default: false },
    },
  })
  const loads = CRASH_LOADS.filter((load) => values.load === undefined || values.load === load)
  if (loads.length === 0) throw new Error(`--load is one of ${CRASH_LOADS.join(', ')}, not '${values.load}'`)
  return { every: Number(values.every), from: Number(values.from), to: Number(values.to), keep: values.keep, loads }
}

async function runPoints(redisPort: number, folder: string, load: CrashLoad): Promise<CrashOutcome[]> {
  const { every, from, to } = readOptions()
  const outcomes: CrashOutcome[] = []
  let call = from
  let passed = 0
  const next = async (): Promise<void> => {
    while (passed < PASSES && call <= to) {
      const mine = call
      call += every
      for (const when of ['before', 'after'] as const) {
        const outcome = await new CrashRun({ redisPort, folder, call: mine, when, load }).run()
        outcomes.push(outcome)
        if (outcomes.length % TELL_EVERY === 0) console.log(`${load}: ${outcomes.length} runs, at call ${mine}`)
        passed = outcome.died === null ? passed + 1 : 0
        for (const { check, ids, text } of outcome.findings) {
          console.log(`${load} call ${mine}, ${outcome.died ?? `passed ${when}`}: ${check}: ${ids.join(' ')}: ${text}`)
        }
      }
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, next))
  return outcomes
}

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'byclaw-crash-points-'))
  const server = await startLocalRedis({ fresh: true })
  try {
    const outcomes: CrashOutcome[] = []
    for (const load of readOptions().loads) outcomes.push(...(await runPoints(server.port, folder, load)))
    const places = new Map<string, number>()
    for (const { died } of outcomes) if (died !== null) places.set(died, (places.get(died) ?? 0) + 1)
    for (const [place, count] of [...places].sort()) console.log(`  ${place.padEnd(28)}  ${String(count).padStart(4)}`)
    const points = outcomes.filter(({ died }) => died !== null).length
    const findings = outcomes.flatMap((outcome) => outcome.findings)
    console.log(`${points} crash points, ${findings.length} findings`)
    if (findings.length === 0 && !readOptions().keep) rmSync(folder, { recursive: true, force: true })
    else console.log(`journals and logs: ${folder}`)
    return findings.length === 0 && points > 0 ? 0 : 1
  } finally {
    await server.stop()
  }
}

process.exitCode = await main()
