import type { AgentCallStatus } from '../errors.ts'
import type { GivenContent } from '../protocol/command.ts'
import type { TaskFault } from '../protocol/event.ts'
import type { TaskOptions } from '../protocol/task-options.ts'
import type { AgentContract, ContractInput, ContractResult } from './contract.ts'

/** What can be said of a call besides its target and content. */
export interface CallOptions {
  /** False: resolves as soon as the called task is accepted. Default true. */
  readonly waitForReply?: boolean | undefined
  /** Gives up after so long, in ms, also across crashes; the called task is cancelled then. Default never. */
  readonly timeoutMs?: number | undefined
  /** Id of the called task; one that is there already is waited for, and it cannot be the caller's own. Default derived from this task and the call. */
  readonly messageId?: string | undefined
  /** Handed to the called agent as its `context.metadata`. */
  readonly metadata?: Record<string, unknown> | undefined
  readonly extraPayload?: Record<string, unknown> | undefined
  /** How the called task is to be retried. Default by its worker's policy. */
  readonly retry?: TaskOptions['retry'] | undefined
  /** Default `normal`. */
  readonly priority?: 'high' | 'normal' | 'low' | undefined
}

/** A call of an agent by the name of its type. */
export interface AgentCall extends CallOptions {
  readonly targetAgentType: string
  readonly content: GivenContent
}

/** A call of an agent by its contract: content and result are typed, and the content is checked before it is sent. */
export interface ContractCall<Contract extends AgentContract = AgentContract> extends CallOptions {
  readonly target: Contract
  readonly content: ContractInput<Contract>
}

/** What a called agent answered. */
export interface AgentReply<Data = unknown> {
  readonly status: 'COMPLETED'
  /** The answer in words: the result if it is a text, its `content` if it has one, else the streamed text. */
  readonly content: string
  /** What the agent's handler returned. */
  readonly data: Data
  readonly messageId: string
}

/** A call for whose answer nobody waits was accepted. */
export interface AgentCallAccepted {
  readonly status: 'QUEUED'
  readonly messageId: string
}

/** One answer of a group: as from a single call, or how and why that call came to nothing. */
export type GroupReply<Data = unknown> =
  | (AgentReply<Data> & { readonly agentType: string })
  | {
      readonly status: AgentCallStatus
      readonly error: TaskFault
      readonly agentType: string
      readonly messageId: string
    }

/** The calls of a group, each with the content that its contract has, if it has one. */
export type GroupCalls<Calls extends readonly unknown[]> = {
  readonly [Index in keyof Calls]: Calls[Index] &
    (Calls[Index] extends { readonly target: infer Contract extends AgentContract } ? ContractCall<Contract> : unknown)
}

/** The answers of a group, each typed by the contract of its call. */
export type GroupReplies<Calls extends readonly unknown[]> = {
  readonly [Index in keyof Calls]: GroupReply<
    Calls[Index] extends { readonly target: infer Contract extends AgentContract } ? ContractResult<Contract> : unknown
  >
}

export interface GroupOptions {
  /** False: resolves as soon as all are accepted. Default true. A call of the group cannot say otherwise for itself. */
  readonly waitForReply?: boolean | undefined
  /** Cancel what has not ended when one does not complete. Default false. */
  readonly failFast?: boolean | undefined
}

/** A question to a person. */
export interface Question<Answer = unknown> {
  readonly prompt: string
  /** What the answer must look like: a JSON Schema, or a schema of a library from which one can be had (zod). */
  readonly schema?: unknown
  /** Answers to choose from: texts, or objects whose `value` is the answer. With a schema the answer must fit both. */
  readonly options?: readonly (string | { readonly value: unknown; readonly label?: string | undefined })[] | undefined
  /** Gives up after so long, in ms, also across crashes. Default never. */
  readonly timeoutMs?: number | undefined
  /** Only for the type of the answer. */
  readonly answer?: Answer | undefined
}
