import type { Logger } from '../logger.ts'
import type { JsonSchema } from './json-schema.ts'
import type { Schema, SchemaInput, SchemaOutput } from './schema.ts'

/** What a tool's `execute` may use besides its input. */
export interface ToolContext {
  /** Aborts with the task, and when the tool's own time is up. */
  readonly signal: AbortSignal
  readonly sessionId: string
  readonly messageId: string
  /** Number of the task's attempt, 1 for the first. */
  readonly attempt: number
  /** Grows from attempt to attempt of a task: for a database or an API that can refuse a stale writer. */
  readonly fencingToken: number
  readonly logger: Logger
}

/** Something an agent can call by name: a description for people and models, a checked input, and the work itself. */
export interface Tool<Input extends Schema = Schema, Output = unknown> {
  readonly description: string
  readonly input: Input
  /** If given, what `execute` returns must fit; who calls the tool gets it as this schema made it. */
  readonly output?: Schema<Output, unknown> | undefined
  /** Longest run in ms; none by default. */
  readonly timeoutMs?: number | undefined
  /**
   * What `input` accepts, as JSON Schema for a model's prompt. Only needed for a schema that cannot say it by itself;
   * zod and all that speak Standard JSON Schema can.
   */
  readonly inputSchema?: JsonSchema | undefined
  /**
   * True: a call that comes to an end runs once per task; its JSON result, at most 1 MiB, is recorded like that of a
   * step, as is what it throws, and a handler that runs again gets it from there. Default false: the tool runs whenever it
   * is called.
   */
  readonly durable?: boolean | undefined
  readonly execute: (input: SchemaOutput<Input>, context: ToolContext) => Output | Promise<Output>
}

/** A tool as a model is told of it. */
export interface ToolDescription {
  readonly name: string
  readonly description: string
  /** JSON Schema of the arguments; `{}` where the tool's schema cannot say what it accepts. */
  readonly inputSchema: JsonSchema
}

/** A set of tools by name, of whatever input and output. */
// biome-ignore lint/suspicious/noExplicitAny: only `any` lets tools of different inputs stand in one record
export type Tools = Readonly<Record<string, Tool<any, any>>>

/** The arguments with which a tool is called. */
export type ToolInput<T> = T extends Tool<infer Input, unknown> ? SchemaInput<Input> : unknown

/**
 * Declares a tool; only there for the inference of its types. What it is given is checked when its worker starts: see
 * {@link GatewayWorker.getTools}.
 */
export function tool<Input extends Schema, Output>(definition: Tool<Input, Output>): Tool<Input, Output> {
  return definition
}
