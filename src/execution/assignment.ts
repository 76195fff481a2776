import type { Ownership } from '../context/emitter.ts'
import type { GatewayError } from '../errors.ts'
import type { GatewayCommand } from '../protocol/command.ts'
import type { MessageHeader } from '../protocol/header.ts'
import type { Replay } from '../store/begin-answer.ts'
import type { CancelRequest } from '../store/cancel-request.ts'
import type { TakenEntry } from '../store/control-streams.ts'

/** A task that this worker has begun: what was asked (or why it cannot be understood), and the ownership. */
export interface Assignment {
  readonly entry: TakenEntry
  readonly header: MessageHeader
  readonly agentType: string
  readonly command: GatewayCommand | GatewayError
  readonly ownership: Ownership & { readonly epoch: number }
  /** When the task was sent: Unix ms by Redis' clock. */
  readonly createdAt: number
  /** It was cancelled before this attempt began. */
  readonly cancel: CancelRequest | null
  /** It was not started in time. */
  readonly isExpired: boolean
  /** Which of the task's lives this is; see `BeginAnswer`. */
  readonly life: number
  /** What earlier runs did under durable operations, if they did. */
  readonly replay: Replay | null
}
