import { writeFile } from 'node:fs/promises'
import { scenario as callAgent } from '../scenarios/call-agent.mjs'
import { scenario as drain } from '../scenarios/drain.mjs'
import { scenario as enqueue } from '../scenarios/enqueue.mjs'
import { scenario as growth } from '../scenarios/growth.mjs'
import { scenario as latency } from '../scenarios/latency.mjs'
import { scenario as waiting } from '../scenarios/waiting.mjs'
import { thresholds } from '../thresholds.mjs'
import { brokenBudgets } from './budget.mjs'
import { loadContenders } from './contenders.mjs'
import { percent } from './format.mjs'
import { describeMachine } from './machine.mjs'
import { startNeighbourMeter } from './neighbours.mjs'
import { clearProfiles, describeProfiles } from './profile.mjs'
import { writeReadme } from './readme.mjs'
import { describeCommands } from './scripts.mjs'
import { startServer } from './server.mjs'
import { groupTable, summarise } from './summary.mjs'

const SCENARIOS = [drain, enqueue, latency, growth, callAgent, waiting]

const chosenScenarios = (only) => {
  if (only === undefined) return SCENARIOS
  return only.map((id) => {
    const scenario = SCENARIOS.find((each) => each.id === id)
    if (scenario === undefined)
      throw new Error(`no scenario ${id}; there are ${SCENARIOS.map((each) => each.id).join(', ')}`)
    return scenario
  })
}

/** A measurement during which others used more of the machine than this is repeated. */
const DISTURBED = 0.08

const measureOnce = async (scenario, row, environment) => {
  const stopMeter = await startNeighbourMeter(environment.server.redis)
  try {
    const sample = await scenario.measure(row, environment)
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
const runGroup = async (scenario, group, environment) => {
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
  return { ...group, rows }
}

/** Extra runs of the rows under a probe; `details` of the last probe are kept beside the row's samples. */
const probeGroup = async (scenario, group, environment) => {
  for (const each of group.rows) {
    for (const probe of scenario.probes ?? []) {
      const { details } = await measureOnce(scenario, each.row, { ...environment, probe })
      each.probed = details
    }
  }
}

const runScenario = async (scenario, contenders, environment) => {
  console.log(`\n## ${scenario.title}\n\n${scenario.note}`)
  const results = []
  for (const group of scenario.groups(contenders, environment)) {
    if (group.rows.length === 0 || (environment.cases && !environment.cases.includes(group.id))) continue
    const measured = await runGroup(scenario, group, environment)
    if (environment.profile) await probeGroup(scenario, measured, environment)
    const summaries = summarise(scenario, measured)
    const text = groupTable(scenario, summaries)
    console.log(`\n**${group.title}**\n\n${text}`)
    results.push({ ...measured, scenario, summaries, text })
  }
  return results
}

const asMarkdown = (heading, groups, contenders) => {
  const parts = [heading]
  for (const [position, { scenario, title, text, rows }] of groups.entries()) {
    if (groups[position - 1]?.scenario !== scenario) parts.push(`### ${scenario.title}`, scenario.note)
    parts.push(`**${title}**`, text)
    const lines = rows.flatMap(({ row, samples }) => samples.flatMap(({ lines = [] }) => [row.title, ...lines]))
    if (lines.some((line) => line.includes('tasks:'))) parts.push(`\`\`\`\n${lines.join('\n')}\n\`\`\``)
  }
  parts.push(
    'What a finished task means:',
    contenders.map(({ title, promises }) => `- **${title}**: ${promises}`).join('\n'),
  )
  return parts.join('\n\n')
}

const asJson = (heading, groups) =>
  JSON.stringify(
    {
      heading,
      groups: groups.map(({ id, title, rows, summaries }) => ({
        id,
        title,
        summaries,
        samples: rows.map(({ row, samples }) => ({ row: row.id, samples })),
      })),
    },
    null,
    2,
  )

const describeRedisTime = async (groups) => {
  const rows = groups.flatMap(({ id, rows: each }) => each.map((row) => ({ ...row, id })))
  const texts = rows.map(async ({ id, row, probed }) => {
    if (probed?.scripts === undefined) return undefined
    return describeCommands(`${id} ${row.id}`, probed, (await row.contender.scriptNames?.()) ?? {})
  })
  return (await Promise.all(texts)).filter(Boolean).join('\n\n')
}

/** The run's own arguments, without those that only say where the outcome goes. */
const asked = () => {
  const words = process.argv.slice(2)
  return words.filter(
    (word, at) => word !== '--write-readme' && !word.startsWith('--json') && words[at - 1] !== '--json',
  )
}

/** Runs what the options ask for; resolves with the exit code. */
export const runBench = async (options) => {
  const contenders = await loadContenders(options.contenders)
  const scenarios = chosenScenarios(options.only)
  const tries = options.quick ? 2 : 4
  const server = await startServer()
  try {
    const versions = contenders.map(({ title, version }) => `${title} ${version()}`).join(', ')
    const command = ['npm run bench --', ...asked()].join(' ')
    const heading = `${versions}. ${await describeMachine(server.redis)}. ${options.rounds} rounds; median (lowest–highest). \`${command}\``
    console.log(heading)
    const groups = []
    if (options.profile) await clearProfiles()
    for (const scenario of scenarios)
      groups.push(...(await runScenario(scenario, contenders, { ...options, tries, server })))
    if (options.profile) console.log(`\n${await describeProfiles()}\n\n${await describeRedisTime(groups)}`)
    if (options.json) await writeFile(options.json, asJson(heading, groups))
    if (options.writeReadme) await writeReadme(asMarkdown(heading, groups, contenders))
    const voided = groups.flatMap(({ id, summaries }) =>
      summaries.flatMap((row) => row.voided.map((reason) => `${id} ${row.id}: void (${reason})`)),
    )
    const broken = options.quick && options.contenders === undefined ? brokenBudgets(groups, thresholds) : []
    for (const sentence of new Set([...voided, ...broken])) console.error(`budget: ${sentence}`)
    return voided.length + broken.length > 0 ? 1 : 0
  } finally {
    await server.stop()
  }
}
