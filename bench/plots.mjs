// Draws the plots of a run whose results were kept by `--json`: `node bench/plots.mjs result.json`.
import { readFile } from 'node:fs/promises'
import { ensureInstalled } from './lib/install.mjs'

const [file] = process.argv.slice(2)
if (file === undefined) throw new Error('node bench/plots.mjs <result.json>')
ensureInstalled()
const { writePlots } = await import('./lib/plots.mjs')
console.log((await writePlots(JSON.parse(await readFile(file, 'utf8')))).join('\n'))
