import type { TaskResult } from '../client/task-result.ts'
import type { SessionEvent } from '../protocol/event.ts'
import { eventText } from './event-text.ts'
import { printable } from './table.ts'
import type { Paint } from './terminal.ts'

/** Where an answer goes. */
export interface AnswerOutput {
  /** Writes a piece of the answer, as it is. */
  readonly write: (text: string) => void
  /** Writes a line beside the answer. */
  readonly remark: (line: string) => void
  readonly paintRemark: Paint
  /** Both go to one terminal, so a remark must not stand in the middle of a line of the answer. */
  readonly isShared: boolean
}

/** Prints one task's answer as it comes: its text to one side, all else dimmed to the other. */
export class AnswerPrinter {
  readonly #output: AnswerOutput
  /** The last character of the answer so far; empty: nothing was written yet. */
  #last = ''

  constructor(output: AnswerOutput) {
    this.#output = output
  }

  onEvent(event: SessionEvent): void {
    if (event.type === 'chunk') this.#write(event.content)
    // The end is told by the result, which also knows the text of an answer that was not streamed.
    else if (!saysTheEnd(event)) this.#remark(event.type === 'state' ? '' : `${event.type} `, eventText(event))
  }

  /** Completes the answer. What the handler returned is the answer itself when nothing was streamed. */
  finish({ status, data, content, error }: TaskResult): void {
    if (this.#last === '') this.#write(content || (data === null ? '' : JSON.stringify(data, null, 2)))
    this.#endLine()
    if (error === undefined) return
    const { remark, paintRemark } = this.#output
    remark(paintRemark('red', printable(`${status}: ${error.message} (${error.code})`)))
  }

  #remark(kind: string, text: string): void {
    const { isShared, remark, paintRemark } = this.#output
    if (isShared) this.#endLine()
    remark(paintRemark('dim', printable(`${kind}${text}`)))
  }

  #endLine(): void {
    if (this.#last !== '' && this.#last !== '\n') this.#write('\n')
  }

  #write(text: string): void {
    if (text === '') return
    this.#last = text.slice(-1)
    this.#output.write(text)
  }
}

/** The end, and the failure that leads to it, are told by whoever asked for the answer. */
function saysTheEnd(event: SessionEvent): boolean {
  return event.type === 'done' || (event.type === 'error' && !event.retrying)
}
