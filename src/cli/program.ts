import { Command } from 'commander'
import { VERSION } from '../version.ts'
import { describeFailure } from './failure.ts'

/** How long a program that is done waits for what its user's code left open, before it ends all the same. */
const GRACE_MS = 1_000

const HELP = ['-h, --help', 'print this help'] as const

/** A command with the manners of this house: errors are thrown, and printed in one place. */
export function program(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .helpOption(...HELP)
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ outputError: () => undefined })
}

/** The options that stand last in every help. */
export function addHelp(command: Command): Command {
  return command
    .optionsGroup('Help:')
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption(...HELP)
}

/** Runs a program to its end: its errors become one line on stderr, its answer the exit code. */
export async function runToEnd(name: string, main: () => Promise<number>): Promise<void> {
  process.exitCode = await outcomeOf(name, main)
  setTimeout(() => process.exit(), GRACE_MS).unref()
}

/** The exit code of a program, which says on stderr why it fails. */
export async function outcomeOf(name: string, main: () => Promise<number>): Promise<number> {
  try {
    return await main()
  } catch (error) {
    const { text, code } = describeFailure(error)
    if (text !== undefined) process.stderr.write(`${name}: ${text}\n`)
    return code
  }
}
