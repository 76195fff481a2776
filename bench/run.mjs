import { readArgs } from './lib/args.mjs'
import { ensureInstalled } from './lib/install.mjs'

const options = readArgs(process.argv.slice(2))
if (options.help) {
  console.log(options.help)
} else {
  ensureInstalled()
  const { runBench } = await import('./lib/bench.mjs')
  process.exitCode = await runBench(options)
}
