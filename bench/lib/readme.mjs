import { readFile, writeFile } from 'node:fs/promises'

const file = new URL('../README.md', import.meta.url)
const BEGIN = '<!-- results:begin -->'
const END = '<!-- results:end -->'

/** Puts the run's tables between the markers of bench/README.md. */
export const writeReadme = async (text) => {
  const readme = await readFile(file, 'utf8')
  const begin = readme.indexOf(BEGIN)
  const end = readme.indexOf(END)
  if (begin < 0 || end < begin) throw new Error(`bench/README.md lacks ${BEGIN} … ${END}`)
  await writeFile(file, `${readme.slice(0, begin + BEGIN.length)}\n\n${text.trim()}\n\n${readme.slice(end)}`)
}
