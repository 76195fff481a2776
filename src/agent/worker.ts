import type { GatewayCommand } from '../protocol/command.ts'
import { brand } from '../util/brand.ts'
import type { AgentContext } from './context.ts'
import type { AgentContract } from './contract.ts'
import type { Tools } from './tool.ts'

/**
 * What people extend to write an agent: what it can do, and what it does with a command. One instance serves many
 * tasks at a time, so what belongs to one task lies in local variables, not in fields.
 */
export abstract class GatewayWorker {
  /** The agent types this worker takes tasks for: names, or contracts whose input and output are then checked. */
  abstract getCapabilities(): readonly (string | AgentContract)[]

  /**
   * Does one task. What it returns (anything JSON can carry) becomes the task's result; throwing fails the attempt.
   */
  abstract processCommand(command: GatewayCommand, context: AgentContext): Promise<unknown>

  /**
   * The worker's own tools, for `context.callTool`. None by default. Called once, when the worker starts; a name must fit
   * the model APIs: 1 to 64 of letters, digits, `_` and `-`.
   */
  getTools(): Tools {
    return {}
  }

  /** Called once before the first task is taken. */
  onStartup?(): void | Promise<void>

  /** Called once after the last task has ended, also where the start failed after `onStartup`. */
  onShutdown?(): void | Promise<void>
}
brand(GatewayWorker, 'GatewayWorker')
