import { type AgentContext, type AskAgentCommand, type GatewayCommand, GatewayWorker } from 'byclaw-gateway-sdk'
import { perform } from './handlers.ts'
import type { Journal } from './journal.ts'
import type { Work } from './work.ts'

/** The agent of all runs: does what a message's content says and writes it down. */
export class ChaosAgent extends GatewayWorker {
  readonly #capability: string
  readonly #journal: Journal

  constructor(capability: string, journal: Journal) {
    super()
    this.#capability = capability
    this.#journal = journal
  }

  override getCapabilities() {
    return [this.#capability]
  }

  override async processCommand(command: GatewayCommand, context: AgentContext): Promise<unknown> {
    const work = JSON.parse(String((command as AskAgentCommand).content)) as Work
    return perform(work, context, { note: (note) => this.#journal.note(note) })
  }
}
