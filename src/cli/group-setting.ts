import type { Command } from 'commander'
import { environment } from './env.ts'
import { addFlags, readSettings } from './settings.ts'
import { WORKER_FLAGS } from './worker-flags.ts'

const GROUP_FLAGS = WORKER_FLAGS.filter(({ option }) => option === 'consumerGroup')

/** Gives a command the flag for the workers' consumer group. */
export function addGroupFlag(command: Command): Command {
  return addFlags(command, GROUP_FLAGS)
}

/** The consumer group that was given, by flag or by variable. */
export function groupOf(options: object): string | undefined {
  return readSettings(GROUP_FLAGS, { ...options }, environment()).values.consumerGroup
}
