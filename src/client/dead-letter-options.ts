import { z } from 'zod'
import type { RedrivenLetter } from '../dispatch/redrive.ts'
import { capabilityFault, idFault } from '../protocol/ids.ts'
import { isEntryId } from '../redis/streams.ts'
import type { HeldLetter } from '../store/dead-letter.ts'
import type { DeadLetterFilter } from '../store/dead-letter-filter.ts'

export interface ListDeadLettersOptions extends DeadLetterFilter {
  /** Default 100. */
  readonly limit?: number | undefined
}

/** What redriving and dropping have in common. */
interface SweepOptions extends DeadLetterFilter {
  /** Say what would happen, and write nothing. Default false. */
  readonly dryRun?: boolean | undefined
  /** At most so many letters, the oldest first. Default all. */
  readonly limit?: number | undefined
}

export interface RedriveOptions extends SweepOptions {
  /** At most so many tasks a second. Default as fast as it goes. */
  readonly ratePerSecond?: number | undefined
  /** An envelope in place of the letter's own; the filter must then match exactly one letter. */
  readonly data?: string | undefined
  /**
   * Called after each batch, in order. A promise that it answers is waited for; what it throws, or that rejects with, ends the
   * redrive.
   */
  readonly onProgress?: ((progress: RedriveProgress) => void) | undefined
}

/** How far a redrive has come, and what became of the letters of its last batch. */
export interface RedriveProgress {
  readonly matched: number
  readonly redriven: number
  readonly skipped: number
  readonly letters: readonly RedrivenLetter[]
}

export interface RedriveResult {
  readonly matched: number
  /** With `dryRun`: so many would be. */
  readonly redriven: number
  /** The others, each with its reason. */
  readonly skipped: readonly RedrivenLetter[]
}

export interface DropOptions extends SweepOptions {
  /** Like that of a redrive. */
  readonly onProgress?: ((progress: DropProgress) => void) | undefined
}

/** How far a drop has come, and the letters of its last batch. */
export interface DropProgress extends DropResult {
  readonly letters: readonly Pick<HeldLetter, 'id' | 'capability' | 'reason' | 'sessionId' | 'messageId'>[]
}

export interface DropResult {
  readonly matched: number
  /** With `dryRun`: so many would be. */
  readonly dropped: number
}

const id = z.string().refine((value) => idFault(value) === null, { error: () => idFault('') ?? '' })
const time = z.number().int('must be Unix ms').min(0)
const count = z.number().int().min(1)
const callback = z.custom<(progress: never) => void>((value) => typeof value === 'function', 'must be a function')

const filter = {
  capability: z
    .string()
    .refine((value) => capabilityFault(value) === null, { error: ({ input }) => capabilityFault(input) ?? '' })
    .optional(),
  id: z.string().refine(isEntryId, 'must be the id of a dead letter').optional(),
  sessionId: id.optional(),
  messageId: id.optional(),
  reason: z.string().min(1).optional(),
  text: z.string().min(1).optional(),
  since: time.optional(),
  until: time.optional(),
}
const sweep = {
  ...filter,
  dryRun: z.boolean().default(false),
  limit: count.optional(),
  onProgress: callback.optional(),
}

export const LIST_OPTIONS = z.strictObject({ ...filter, limit: count.default(100) })
export const SHOW_OPTIONS = z.strictObject(filter)
export const DROP_OPTIONS = z.strictObject(sweep)
export const REDRIVE_OPTIONS = z.strictObject({
  ...sweep,
  ratePerSecond: z.number().min(0.001).optional(),
  data: z.string().optional(),
})
