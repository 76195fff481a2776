import { BASELINE } from './contenders.mjs'
import { decimal, percent, table } from './format.mjs'
import { median, spread } from './stats.mjs'

/** Told of every row: how much of the machine others used meanwhile. */
const OTHERS = { key: 'others', title: 'others', format: percent }

const valid = (samples) => samples.filter((sample) => sample !== undefined && sample.void === undefined)

/** The baseline's best variant of a group in one round: the rival is given its best face. */
const baselineOf = (group, round, { key, better }) => {
  const figures = group.rows
    .filter(({ row }) => row.contender.id === BASELINE)
    .map(({ samples }) => samples[round])
    .filter((sample) => sample !== undefined && sample.void === undefined)
    .map((sample) => sample[key])
  if (figures.length === 0) return undefined
  return better === 'higher' ? Math.max(...figures) : Math.min(...figures)
}

/** How many times better than the baseline: the median over rounds of the ratio within one round. */
const ratioOf = (group, samples, headline) => {
  const ratios = samples.flatMap((sample, round) => {
    const base = baselineOf(group, round, headline)
    if (sample === undefined || sample.void !== undefined || base === undefined) return []
    return headline.better === 'higher' ? sample[headline.key] / base : base / sample[headline.key]
  })
  return ratios.length === 0 ? undefined : median(ratios)
}

/** Samples of all rounds to figures: `{ [metric]: { median, min, max }, ratio, voided }` by row. */
export const summarise = ({ columns, headline }, group) =>
  group.rows.map(({ row, samples }) => ({
    id: row.id,
    title: row.title,
    figures: Object.fromEntries(
      [...columns, OTHERS].map(({ key }) => [key, spread(valid(samples).map((sample) => sample[key]))]),
    ),
    ratio: headline && ratioOf(group, samples, headline),
    voided: samples.filter((sample) => sample?.void !== undefined).map((sample) => sample.void),
  }))

const cell = ({ format, range }, figure) => {
  if (figure === undefined) return '–'
  const text = format(figure.median)
  return range && figure.rounds > 1 ? `${text} (${format(figure.min)}–${format(figure.max)})` : text
}

export const groupTable = ({ columns: own, headline }, summaries) => {
  const columns = [...own, OTHERS]
  const titles = ['', ...columns.map(({ title }) => title)]
  if (headline) titles.splice(2, 0, '× BullMQ')
  const rows = summaries.map(({ title, figures, ratio, voided }) => {
    const cells = [
      voided.length > 0 ? `${title} (VOID: ${voided[0]})` : title,
      ...columns.map((column) => cell(column, figures[column.key])),
    ]
    if (headline) cells.splice(2, 0, ratio === undefined ? '–' : decimal(2)(ratio))
    return cells
  })
  return table(titles, rows)
}
