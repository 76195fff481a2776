import { writeFile } from 'node:fs/promises'
import { scenario as backlog } from '../scenarios/backlog.mjs'
import { scenario as callAgent } from '../scenarios/call-agent.mjs'
import { scenario as chunks } from '../scenarios/chunks.mjs'
import { scenario as delay } from '../scenarios/delay.mjs'
import { scenario as drain } from '../scenarios/drain.mjs'
import { scenario as enqueue } from '../scenarios/enqueue.mjs'
import { scenario as growth } from '../scenarios/growth.mjs'
import { scenario as herd } from '../scenarios/herd.mjs'
import { scenario as latency } from '../scenarios/latency.mjs'
import { scenario as startup } from '../scenarios/startup.mjs'
import { scenario as waiting } from '../scenarios/waiting.mjs'
import { thresholds } from '../thresholds.mjs'
import { brokenBudgets } from './budget.mjs'
import { loadContenders } from './contenders.mjs'
import { describeMachine } from './machine.mjs'
import { clearProfiles, describeProfiles } from './profile.mjs'
import { writeReadme } from './readme.mjs'
import { asData, asMarkdown, describeRedisTime } from './report.mjs'
import { runGroup } from './rounds.mjs'
import { createServers } from './server.mjs'

const SCENARIOS = [drain, enqueue, latency, chunks, herd, delay, growth, callAgent, waiting, startup, backlog]
/** What a quick run measures unless it is told: the scenarios with a limit in thresholds.mjs. */
const QUICK = [drain, enqueue, latency, chunks]

const chosenScenarios = ({ only, quick }) => {
  if (only === undefined) return quick ? QUICK : SCENARIOS.filter(({ onlyWhenNamed }) => !onlyWhenNamed)
  return only.map((id) => {
    const scenario = SCENARIOS.find((each) => each.id === id)
    if (scenario === undefined)
      throw new Error(`no scenario ${id}; there are ${SCENARIOS.map((each) => each.id).join(', ')}`)
    return scenario
  })
}

const runScenario = async (scenario, contenders, environment) => {
  console.log(`\n## ${scenario.title}\n\n${scenario.note}`)
  const results = []
  for (const group of scenario.groups(contenders, environment)) {
    if (group.rows.length === 0 || (environment.cases && !environment.cases.includes(group.id))) continue
    results.push(await runGroup(scenario, group, environment))
  }
  return results
}

/** The limits which this run breaks. A group that breaks one is measured once more, and only what it breaks both times counts. */
const brokenTwice = async (groups, environment) => {
  const broken = brokenBudgets(groups, thresholds)
  const again = []
  for (const { scenario, group } of new Set(broken.map((fault) => fault.group))) {
    console.log(`\n${group.id} broke a limit and is measured once more.`)
    again.push(await runGroup(scenario, group, environment))
  }
  const suspects = broken.map(({ threshold }) => threshold)
  return brokenBudgets(again, suspects).map(({ sentence }) => sentence)
}

const voidRows = (groups) =>
  groups.flatMap(({ id, summaries }) =>
    summaries.flatMap((row) => row.voided.map((reason) => `${id} ${row.id}: void (${reason})`)),
  )

/** The run's own arguments, without those that only say where the outcome goes. */
const asked = () => {
  const words = process.argv.slice(2)
  return words.filter(
    (word, at) => word !== '--write-readme' && !word.startsWith('--json') && words[at - 1] !== '--json',
  )
}

const publish = async ({ json, writeReadme: isForReadme }, heading, groups, contenders) => {
  const data = asData(heading, groups)
  if (json) await writeFile(json, JSON.stringify(data, null, 2))
  if (!isForReadme) return
  const { writePlots } = await import('./plots.mjs')
  await writeReadme(asMarkdown(heading, groups, { contenders, plots: await writePlots(data) }))
}

/** Runs what the options ask for; resolves with the exit code. */
export const runBench = async (options) => {
  const contenders = await loadContenders(options.contenders, options)
  const servers = createServers()
  // A quick run has its own second try, where it matters.
  const environment = { ...options, tries: options.quick ? 1 : 4, servers }
  try {
    const versions = contenders.map(({ title, version }) => `${title} ${version()}`).join(', ')
    const command = ['npm run bench --', ...asked()].join(' ')
    const machine = await describeMachine(await servers.get())
    const heading = `${versions}. ${machine}. ${options.rounds} rounds; median (lowest–highest). \`${command}\``
    console.log(heading)
    const groups = []
    if (options.profile) await clearProfiles()
    for (const scenario of chosenScenarios(options)) {
      groups.push(...(await runScenario(scenario, contenders, environment)))
      // It takes an hour: what was measured is kept, should the rest be interrupted.
      await publish(options, heading, groups, contenders)
    }
    if (options.profile) console.log(`\n${await describeProfiles()}\n\n${await describeRedisTime(groups)}`)
    const isJudged = options.quick && options.contenders === undefined
    const broken = isJudged ? await brokenTwice(groups, environment) : []
    const faults = new Set([...voidRows(groups), ...broken])
    for (const sentence of faults) console.error(`budget: ${sentence}`)
    return faults.size > 0 ? 1 : 0
  } finally {
    await servers.stop()
  }
}
