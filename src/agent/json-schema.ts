import { z } from 'zod'
import { errorMessage } from '../errors.ts'
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

/** Makes a check of a JSON Schema, or tells why none can be made of it: what it says is wrong, or beyond what zod reads. */
export function checkerOf(schema: JsonSchema): { ok: true; checker: z.ZodType } | { ok: false; reason: string } {
  try {
    return { ok: true, checker: z.fromJSONSchema(schema as Parameters<typeof z.fromJSONSchema>[0]) }
  } catch (error) {
    return { ok: false, reason: errorMessage(error) }
  }
}
