import { percent } from './format.mjs'
import { startNeighbourMeter } from './neighbours.mjs'
import { groupTable, summarise } from './summary.mjs'

/** A measurement during which others used more of the machine than this is repeated. */
const DISTURBED = 0.08

const measureOnce = async (scenario, row, environment) => {
  const server = await environment.servers.get(row.contender.server ?? row.server)
  const stopMeter = await startNeighbourMeter(await environment.servers.running())
  try {
    const sample = await scenario.measure(row, { ...environment, server })
    return { ...sample, others: await stopMeter() }
  } catch (error) {
    console.error(error)
    return { void: error.message.split('\n')[0] }
  }
}

/** Measures again while neighbours disturb, and keeps the quietest; a void measurement stands, whatever the load. */
const attempt = async (scenario, row, environment) => {
  let quietest
  for (let turn = 0; turn < environment.tries; turn++) {
    const sample = await measureOnce(scenario, row, environment)
    if (sample.void !== undefined || sample.others === undefined) return sample
    if (quietest === undefined || sample.others < quietest.others) quietest = sample
    if (sample.others < DISTURBED) break
  }
  return quietest
}

/** All rows of a group side by side: in each round every contender once, each round beginning with another one. */
const measureRounds = async (scenario, group, environment) => {
  const rows = group.rows.map((row) => ({ row, samples: [] }))
  const rounds = Math.min(group.maxRounds ?? environment.rounds, environment.rounds)
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < rows.length; turn++) {
      const { row, samples } = rows[(round + turn) % rows.length]
      const begin = performance.now()
      const sample = await attempt(scenario, row, environment)
      samples[round] = sample
      const seconds = ((performance.now() - begin) / 1000).toFixed(1)
      process.stderr.write(
        `  ${group.id} ${round + 1}/${rounds} ${row.id} (${seconds} s, others ${percent(sample.others ?? 0)})${sample.void ? ` VOID: ${sample.void}` : ''}\n`,
      )
      for (const line of sample.lines ?? []) process.stderr.write(`    ${line}\n`)
    }
  }
  return rows
}

/** Extra runs of the rows under a probe; `details` of the last probe are kept beside the row's samples. */
const probeRows = async (scenario, rows, environment) => {
  for (const each of rows) {
    for (const probe of scenario.probes ?? []) {
      const { details } = await measureOnce(scenario, each.row, { ...environment, probe })
      each.probed = details
    }
  }
}

/** Measures a group, prints its table, and returns it with samples, summaries and the table's text. */
export const runGroup = async (scenario, group, environment) => {
  const rows = await measureRounds(scenario, group, environment)
  if (environment.profile) await probeRows(scenario, rows, environment)
  const summaries = summarise(scenario, { ...group, rows })
  const text = groupTable(scenario, summaries)
  console.log(`\n**${group.title}**\n\n${text}`)
  return { ...group, group, scenario, rows, summaries, text }
}
