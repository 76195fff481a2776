import type { Logger } from '../logger.ts'
import type { Schema, SchemaInput, SchemaOutput } from './schema.ts'

/** What a tool's `execute` may use besides its input. */
export interface ToolContext {
  /** Aborts with the task, and when the tool's own time is up. */
  readonly signal: AbortSignal
  readonly sessionId: string
  readonly messageId: string
  readonly logger: Logger
}

/** Something an agent can call by name: a description for people and models, a checked input, and the work itself. */
export interface Tool<Input extends Schema = Schema, Output = unknown> {
  readonly description: string
  readonly input: Input
  /** If given, what `execute` returns must fit. */
  readonly output?: Schema<unknown, Output>
  /** Longest run in ms; none by default. */
  readonly timeoutMs?: number
  readonly execute: (input: SchemaOutput<Input>, context: ToolContext) => Output | Promise<Output>
}

/** A set of tools by name, of whatever input and output. */
// biome-ignore lint/suspicious/noExplicitAny: only `any` lets tools of different inputs stand in one record
export type Tools = Readonly<Record<string, Tool<any, any>>>

/** The arguments with which a tool is called. */
export type ToolInput<T> = T extends Tool<infer Input, unknown> ? SchemaInput<Input> : unknown

/** Declares a tool; only there for the inference of its types. */
export function tool<Input extends Schema, Output>(definition: Tool<Input, Output>): Tool<Input, Output> {
  return definition
}
