import { GatewayError } from '../../errors.ts'
import { isObject } from '../../protocol/json.ts'
import type { RecordedResult } from '../../store/recorded-result.ts'
import type { Said } from '../hold-back.ts'
import type { DurableTask } from './durable-task.ts'
import { isInside } from './entry.ts'
import type { Operation } from './journal.ts'
import { outcomeOf, recordedValue } from './recordable.ts'
import { Scope } from './scope.ts'
import { readSaid } from './step-text.ts'

// Printable: names become part of keys and of what people read.
const NAME = /^[^\p{C}\p{Zl}\p{Zp}]{1,128}$/u

/**
 * Steps of a task: code that runs once, whatever happens; one that throws, once in an attempt. What a step says belongs to
 * it: the words of one that was interrupted are taken back before it runs again, those of a recorded one stay, or are said
 * again where all was taken back.
 */
export class Steps {
  readonly #task: DurableTask
  /** Recorded steps whose words were taken back together with those of a step around them. */
  readonly #silenced = new Set<string>()

  constructor(task: DurableTask) {
    this.#task = task
  }

  /** See `AgentContext.step`. */
  run<Result>(name: string, fn: () => Result | Promise<Result>): Promise<Result> {
    if (typeof name !== 'string' || !NAME.test(name)) {
      const reason = '1 to 128 printable characters are allowed'
      throw new GatewayError('GW_INVALID_ARGUMENT', { field: 'the name of a step', value: name, reason })
    }
    if (typeof fn !== 'function') {
      const reason = 'must be a function'
      throw new GatewayError('GW_INVALID_ARGUMENT', { field: `what step '${name}' runs`, value: fn, reason })
    }
    const op = this.#task.claim('step', name, null)
    const scope = new Scope(this.#task, op.key, op.key)
    const { emitter } = this.#task
    // What was said before the step comes before what it says.
    const before = emitter.isExpecting ? emitter.arrived() : undefined
    if (op.result !== undefined) return this.#pass(op, op.result, before)
    const carryOut = () => this.#carryOut(op, scope, fn)
    return before === undefined ? carryOut() : before.then(carryOut)
  }

  /** What a recorded step has said, from the stream. */
  async restore(key: string): Promise<readonly Said[]> {
    const { journal, resources, ref } = this.#task
    const entry = journal.entry(key)
    const result = journal.result(key)
    const { z: until, y: after = entry?.after } = isObject(result?.value) ? result.value : {}
    if (typeof until !== 'string' || typeof after !== 'string' || until === '') return []
    const said = await readSaid(resources.reader, ref, after, until)
    return said.filter(({ step }) => isOf(key, step))
  }

  /** Takes its turn at once: what comes later does not overtake it while its words are restored. */
  async #pass<Result>(op: Operation, result: RecordedResult, before: Promise<void> | undefined): Promise<Result> {
    const said = before === undefined ? this.#saidAgain(op) : before.then(() => this.#saidAgain(op))
    return recordedValue(await this.#task.results.recorded(op.key, result, said)) as Result
  }

  /** Resolves when the words of a recorded step are said again; undefined if they need not be. */
  #saidAgain({ key }: Operation): Promise<void> | undefined {
    const { emitter, journal } = this.#task
    const isSilenced = this.#silenced.delete(key)
    // One that was silent has no words to look for.
    const isSilent = !journal.hasSpoken(key)
    if (isSilent || (emitter.pass(key) && !isSilenced)) return undefined
    return emitter.rewrite(() => this.restore(key))
  }

  async #carryOut<Result>(op: Operation, scope: Scope, fn: () => Result | Promise<Result>): Promise<Result> {
    const task = this.#task
    const { emitter, resources, ref } = task
    const done = task.working()
    try {
      emitter.release()
      if (op.entry === undefined) {
        await emitter.flushed()
        const note = { op: op.key, entry: op.json, sum: emitter.sum(), isStep: true, ...ref }
        task.noted(await resources.journals.open(note))
      } else if (!emitter.isAfresh) {
        await this.#takeBack(op.key, op.entry.after)
      }
      // Where this run of the step begins, if there was one before.
      const after = op.entry === undefined ? undefined : await resources.reader.lastId(ref.sessionId)
      const { recorded, failure } = await outcomeOf(task, op.key, () => resources.scopes.run(scope, fn))
      await emitter.flushed()
      const result = await task.results.close({ ...op, entry: NOTED }, { ...recorded, y: after, z: emitter.lastId })
      return recordedValue(result, failure) as Result
    } finally {
      done()
    }
  }

  /** Takes back what an interrupted step has said; what others have said since then is said again. */
  async #takeBack(key: string, after: string): Promise<void> {
    const { emitter, resources, ref, journal, questions } = this.#task
    await emitter.rewrite(async () => {
      const said = await readSaid(resources.reader, ref, after)
      const hasSpoken = said.some(({ step }) => isOf(key, step))
      for (const inner of journal.spokenSteps(key)) this.#silenced.add(inner)
      if (!hasSpoken) return []
      const rewind = { body: { type: 'rewind', toId: after }, metadata: undefined, step: undefined } as const
      // A question to which this run has not come yet is put again when it does.
      const isOpen = ({ body }: Said) => body.type !== 'ask_user' || questions.has(body.askId)
      // What the handler itself has said counts for its sum already.
      const others = said.filter((one) => !isOf(key, one.step) && isOpen(one))
      return [rewind, ...others.map((other) => ({ ...other, isAgain: true }))]
    })
  }
}

/** An entry that is on record: only that there is one matters. */
const NOTED = { kind: 'step', name: '', hash: '', shown: '', openedAt: 0, after: '' } as const

/** True for the words of a step, and of the steps in its body. */
function isOf(key: string, step: string | undefined): boolean {
  return step !== undefined && (step === key || isInside(key, step))
}
