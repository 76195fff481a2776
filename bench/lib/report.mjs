import { describeCommands } from './scripts.mjs'

/** The run as Markdown: plots, tables with what they say, and what each contender promises. */
export const asMarkdown = (heading, groups, { contenders, plots }) => {
  const parts = [heading, ...plots]
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

/** The run with every sample, as plain data. */
export const asData = (heading, groups) => ({
  heading,
  groups: groups.map(({ id, title, scenario, rows, summaries }) => ({
    id,
    scenario: scenario.id,
    title,
    summaries,
    samples: rows.map(({ row, samples }) => ({ row: row.id, samples })),
  })),
})

/** Where Redis spent its time, by script and by command, of the rows that were probed. */
export const describeRedisTime = async (groups) => {
  const rows = groups.flatMap(({ id, rows: each }) => each.map((row) => ({ ...row, id })))
  const texts = rows.map(async ({ id, row, probed }) => {
    if (probed?.scripts === undefined) return undefined
    return describeCommands(`${id} ${row.id}`, probed, (await row.contender.scriptNames?.()) ?? {})
  })
  return (await Promise.all(texts)).filter(Boolean).join('\n\n')
}
