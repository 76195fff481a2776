import { z } from 'zod'
import type { Schema } from './schema.ts'

/** A JSON Schema (draft 2020-12), as a plain object. */
export type JsonSchema = Readonly<Record<string, unknown>>

const TARGET = 'draft-2020-12'
/** What JSON Schema cannot say (a date, a bigint) is left open in place of an error. */
const ZOD_OPTIONS = { unrepresentable: 'any' } as const

/**
 * What a schema accepts, as JSON Schema for a model's prompt: by the schema's own `~standard.jsonSchema`
 * (Standard JSON Schema), or by zod for a zod that has it not yet. Null if there is no way to tell.
 */
export function jsonSchemaOf(schema: Schema): JsonSchema | null {
  const standard = schema['~standard']
  const libraryOptions = standard.vendor === 'zod' ? ZOD_OPTIONS : undefined
  if (standard.jsonSchema !== undefined) {
    return withoutDialect(standard.jsonSchema.input({ target: TARGET, libraryOptions }))
  }
  if (standard.vendor !== 'zod') return null
  return withoutDialect(z.toJSONSchema(schema as unknown as z.ZodType, { io: 'input', ...ZOD_OPTIONS }))
}

/** Some model APIs refuse `$schema`, and none needs it. */
function withoutDialect({ $schema: _dialect, ...rest }: Record<string, unknown>): JsonSchema {
  return rest
}
