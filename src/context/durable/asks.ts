import type { Question } from '../../agent/calls.ts'
import { checkerOf, jsonSchemaOf } from '../../agent/json-schema.ts'
import { checkSchema, type Schema } from '../../agent/schema.ts'
import { GatewayError, invalidArgument } from '../../errors.ts'
import { type EventBody, eventEncoder } from '../../protocol/event.ts'
import { askIdOf } from '../../protocol/ids.ts'
import { isObject } from '../../protocol/json.ts'
import type { NoteAnswer } from '../../store/journal-notes.ts'
import { deferred } from '../../util/deferred.ts'
import { requireKnown, requireObject } from '../../util/parse-options.ts'
import type { DurableTask } from './durable-task.ts'
import type { Entry } from './entry.ts'
import { readSaid } from './step-text.ts'

/** A year. */
const MOST_MS = 31_536_000_000
/** The event of a question may have an id that lies a little before the time of its note. */
const LEEWAY_MS = 1_000

const KNOWN = { prompt: true, schema: true, options: true, timeoutMs: true, answer: true } as const

interface CheckedQuestion {
  readonly prompt: string
  /** As JSON Schema. */
  readonly schema: unknown
  readonly options: unknown
  readonly timeoutMs: number | undefined
}

/** Asks a person; see `AgentContext.askUser`. */
export async function askUser(task: DurableTask, question: string | Question): Promise<unknown> {
  const given = typeof question === 'string' ? { prompt: question } : question
  requireObject('the question', given)
  const { prompt, schema, options, timeoutMs } = checkQuestion(given)
  const op = task.claim('ask', '', { options, prompt, schema })
  const { resources, ref, emitter, header } = task
  const askId = askIdOf(ref.messageId, op.key)
  // As it is now: whoever asks may change his options before it is put, or put again.
  const body: EventBody & { type: 'ask_user' } = JSON.parse(
    JSON.stringify({ type: 'ask_user', askId, prompt, schema, options }),
  )
  const note = (isAgain: boolean) => {
    const entry = JSON.stringify({
      i: askId,
      p: prompt,
      s: body.schema,
      o: body.options,
      ...(JSON.parse(op.json) as object),
    })
    const event = eventEncoder(header, task.agentType)(body, task.attempt)
    const { streamTtlMs, streamMaxLength, maxPayloadBytes: limit } = resources
    const bytes = Buffer.byteLength(event)
    if (bytes > limit) throw new GatewayError('GW_PAYLOAD_TOO_LARGE', { field: 'the question', bytes, limit })
    task.questions.set(askId, body)
    const about = { op: op.key, entry, sum: emitter.sum(), event, isAgain }
    return resources.journals.ask({ ...about, streamTtlMs, streamMaxLength, ...ref })
  }
  const open = async () => {
    // What was said before is to stand before the question.
    await emitter.flushed()
    if (op.entry === undefined) warnOfUnchecked(task, prompt, body.schema)
    const answer = op.entry === undefined ? await note(false) : await renew(task, askId, op.entry, note)
    if (timeoutMs !== undefined && answer.status === 'noted' && answer.text === '') {
      await task.deadlines.start(op, timeoutMs, '{"s":"TIMEOUT"}')
    }
    return answer
  }
  const { value } = await task.outcome(op, 'user', open).finally(() => task.questions.delete(askId))
  const { s, v } = isObject(value) ? value : {}
  if (s === 'TIMEOUT') throw new GatewayError('GW_TIMEOUT', { what: `the answer to '${prompt}'`, timeoutMs })
  if (timeoutMs !== undefined) task.deadlines.drop(op)
  return checkAnswer(given.schema, v)
}

/** A reply is checked by those who bring it, who know no more of the schema than its JSON form. */
function warnOfUnchecked({ logger }: DurableTask, prompt: string, schema: unknown): void {
  const made = isObject(schema) ? checkerOf(schema) : undefined
  if (made === undefined || made.ok) return
  logger.warn(
    { prompt, reason: made.reason },
    'replies to a question are not checked: its JSON Schema is not understood',
  )
}

/** Notes a question of an earlier run again; its event is put again if what that run has said was taken back since. */
async function renew(
  { emitter, resources, ref }: DurableTask,
  askId: string,
  { openedAt }: Entry,
  note: (isAgain: boolean) => Promise<NoteAnswer>,
): Promise<NoteAnswer> {
  const noted = deferred<NoteAnswer>()
  // Nothing else is taken back or put again meanwhile.
  await emitter.rewrite(async () => {
    const said = await readSaid(resources.reader, ref, `${Math.max(openedAt - LEEWAY_MS, 0)}-0`)
    noted.resolve(await note(!said.some(({ body }) => body.type === 'ask_user' && body.askId === askId)))
    return []
  })
  return noted.promise
}

/** A schema may check more than its JSON form says, and make something else of the answer. */
async function checkAnswer(schema: unknown, answer: unknown): Promise<unknown> {
  if (!isSchema(schema)) return answer
  const checked = await checkSchema(schema, answer)
  if (checked.ok) return checked.value
  throw new GatewayError('GW_INVALID_ARGUMENT', { field: "the person's answer", reason: checked.reason })
}

function checkQuestion(question: Question): CheckedQuestion {
  requireKnown(question, KNOWN)
  const { prompt, schema, options, timeoutMs } = question
  if (typeof prompt !== 'string' || prompt.trim() === '') throw invalidArgument('prompt', prompt, 'must be a text')
  if (options !== undefined && (!Array.isArray(options) || options.length === 0)) {
    throw invalidArgument('options', options, 'must be a list of answers')
  }
  if (timeoutMs !== undefined && !(typeof timeoutMs === 'number' && timeoutMs > 0 && timeoutMs <= MOST_MS)) {
    throw invalidArgument('timeoutMs', timeoutMs, 'must be a number of milliseconds, at most a year')
  }
  if (isSchema(schema)) return { prompt, schema: jsonSchemaOf(schema) ?? undefined, options, timeoutMs }
  if (schema !== undefined && !isObject(schema))
    throw invalidArgument('schema', schema, 'must be a schema or a JSON Schema')
  return { prompt, schema, options, timeoutMs }
}

function isSchema(value: unknown): value is Schema {
  return (typeof value === 'object' || typeof value === 'function') && value !== null && '~standard' in value
}
