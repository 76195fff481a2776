import { createHash } from 'node:crypto'
import { decimal, table } from './format.mjs'

const sha1 = (text) => createHash('sha1').update(text).digest('hex')

/** `{ sha: name }` of scripts given as `{ name: source }`. */
export const shaNames = (sources) =>
  Object.fromEntries(Object.entries(sources).map(([name, source]) => [sha1(source), name]))

const titles = ['', 'calls/task', 'µs/task', 'µs/call']

const lines = (sums, tasks) =>
  Object.entries(sums)
    .filter(([, { calls }]) => calls / tasks >= 0.0005)
    .sort(([, left], [, right]) => right.micros - left.micros)
    .map(([name, { calls, micros }]) => [
      name,
      decimal(3)(calls / tasks),
      decimal(2)(micros / tasks),
      decimal(1)(micros / calls),
    ])

/** Redis time per task: by script, and by command, where a script's time holds that of the commands it calls. */
export const describeCommands = (title, { commands, scripts, tasks }, names) => {
  const byName = Object.fromEntries(Object.entries(scripts).map(([sha, sum]) => [names[sha] ?? sha.slice(0, 8), sum]))
  return [
    `${title}: Redis time by script`,
    table(titles, lines(byName, tasks)),
    `${title}: Redis time by command, those inside scripts included`,
    table(titles, lines(commands, tasks)),
  ].join('\n\n')
}
