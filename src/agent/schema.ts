import { excerpt, GatewayError } from '../errors.ts'

/**
 * A schema of any library that speaks Standard Schema v1 (standardschema.dev): zod 4, Valibot, ArkType and others. Only
 * what is used here is declared.
 */
export interface Schema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
    /** Standard JSON Schema, as far as the library has it: what the schema accepts, in another language. */
    readonly jsonSchema?: { readonly input: (options: JsonSchemaOptions) => Record<string, unknown> } | undefined
  }
}

/** What a schema is asked for when it is to describe itself. */
export interface JsonSchemaOptions {
  readonly target: string
  readonly libraryOptions?: Record<string, unknown> | undefined
}

export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] }

export interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** What a schema makes of a valid value. */
export type SchemaOutput<S> = S extends { readonly '~standard': { readonly types?: infer T } }
  ? NonNullable<T> extends { readonly output: infer Output }
    ? Output
    : unknown
  : unknown

/** What a schema accepts. */
export type SchemaInput<S> = S extends { readonly '~standard': { readonly types?: infer T } }
  ? NonNullable<T> extends { readonly input: infer Input }
    ? Input
    : unknown
  : unknown

/** A value that fits its schema (as the schema made it), or the reason why it does not, with paths. */
export type Checked<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string }

/** So many faults of a value are told; a list of a thousand may have as many. */
const MOST_ISSUES = 20

export async function checkSchema<S extends Schema>(schema: S, value: unknown): Promise<Checked<SchemaOutput<S>>> {
  const result = await schema['~standard'].validate(value)
  if (result.issues === undefined) return { ok: true, value: result.value as SchemaOutput<S> }
  const { issues } = result
  const told = issues.slice(0, MOST_ISSUES).map((issue) => describeIssue(issue, value))
  if (issues.length > MOST_ISSUES) told.push(`and ${issues.length - MOST_ISSUES} more`)
  return { ok: false, reason: told.join('; ') }
}

/** @throws GatewayError `GW_INVALID_ARGUMENT` that names `field` and the value, for what is no schema. */
export function requireSchema(field: string, value: unknown): void {
  if (isSchema(value)) return
  const reason = `must be a schema of zod or of another library that speaks Standard Schema${value === undefined ? ', and is left out' : ''}`
  throw new GatewayError('GW_INVALID_ARGUMENT', { field, value, reason })
}

export function isSchema(value: unknown): value is Schema {
  // Some libraries make their schemas functions.
  const mayBear = (typeof value === 'object' && value !== null) || typeof value === 'function'
  const standard = mayBear ? (value as Partial<Schema>)['~standard'] : undefined
  return typeof standard?.validate === 'function'
}

/** `path: message (got value)`; a value that is not there is not shown. */
function describeIssue({ path = [], message }: SchemaIssue, value: unknown): string {
  // Not by its own `map`: that of ArkType's paths makes [0] of none.
  const keys = Array.from(path, (step) => (typeof step === 'object' ? step.key : step))
  const given = keys.reduce(memberOf, value)
  const place = keys.length === 0 ? '' : `${keys.map(String).join('.')}: `
  return `${place}${message}${given === undefined ? '' : ` (got ${excerpt(given)})`}`
}

function memberOf(value: unknown, key: PropertyKey): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<PropertyKey, unknown>)[key]
    : undefined
}
