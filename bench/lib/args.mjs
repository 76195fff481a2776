import { parseArgs } from 'node:util'

const help = `node bench/run.mjs [options]

  --quick               smaller sizes of the scenarios with a limit, under a minute; fails (exit 1) when a limit of
                        thresholds.mjs is broken twice
  --only <scenario>     drain, enqueue, latency, chunks, herd, delay, growth, call-agent, waiting, startup
                        or backlog (this one only if it is named); several with commas
  --case <id>           drain-100, latency-20, …: only these cases of the scenarios; several with commas
  --contender <id>      byclaw, bullmq, bare-streams, groupmq, bee-queue or pg-boss; several with commas
                        (default: all, quick: the first three)
  --rounds <n>          rounds per case, contenders interleaved within each (default: 5, quick: 1)
  --json <file>         write every sample as JSON
  --profile             extra drains: a cpu profile of each worker into bench/out, and Redis time by script
  --write-readme        replace the tables in bench/README.md and draw its plots
`

const list = (text) =>
  text
    ?.split(',')
    .map((part) => part.trim())
    .filter(Boolean)

/** The run's options, from the command line. */
export const readArgs = (argv) => {
  const { values } = parseArgs({
    args: argv,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      case: { type: 'string' },
      contender: { type: 'string' },
      rounds: { type: 'string' },
      json: { type: 'string' },
      profile: { type: 'boolean', default: false },
      'write-readme': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return { help }
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 5))
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new Error(`--rounds must be a whole number above 0, not ${values.rounds}`)
  return {
    quick: values.quick,
    only: list(values.only),
    cases: list(values.case),
    contenders: list(values.contender),
    rounds,
    json: values.json,
    profile: values.profile,
    writeReadme: values['write-readme'],
  }
}
