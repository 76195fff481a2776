export type { AgentConfig, ConflictPolicy, MergedAgentConfig, PluginVersionChange } from './agent/agent-config.ts'
export type {
  AgentCall,
  AgentCallAccepted,
  AgentReply,
  CallOptions,
  ContractCall,
  GroupCalls,
  GroupOptions,
  GroupReplies,
  GroupReply,
  Question,
} from './agent/calls.ts'
export type { ActiveWorker, AgentContext, EmitOptions, PromptOptions, Workspace } from './agent/context.ts'
export type { AgentContract, ContractContent, ContractInput, ContractResult } from './agent/contract.ts'
export { contentOf, defineAgent } from './agent/contract.ts'
export type {
  HistoryContent,
  HistoryMessage,
  HistoryPage,
  HistoryRole,
  HistoryStore,
  NewHistoryMessage,
} from './agent/history.ts'
export type {
  AgentCallFacts,
  CallAgentCompleteEvent,
  CallAgentErrorEvent,
  CallAgentStartEvent,
  EmittedEvent,
  HandlerEvent,
  HookEvents,
  HookName,
  HookStats,
  PluginHooks,
  TaskCancelEvent,
  TaskCompleteEvent,
  TaskErrorEvent,
  TaskFacts,
  TaskLeaveEvent,
  TaskStartEvent,
  ToolCallEvent,
  UnloadEvent,
  WorkerFacts,
} from './agent/hooks.ts'
export type {
  EmitInput,
  FlushInput,
  Interceptor,
  Interceptors,
  Next,
  TaskInput,
  ToolCallInput,
} from './agent/interceptor.ts'
export type { JsonSchema } from './agent/json-schema.ts'
export type { BuildContext, PluginDefinition, PluginManifest, PluginParts } from './agent/plugin.ts'
export { definePlugin, Plugin } from './agent/plugin.ts'
export type {
  PluginChange,
  PluginConfigurator,
  PluginInfo,
  PluginOrigin,
  PluginStats,
  Plugins,
} from './agent/plugin-registry.ts'
export type { BackoffFunction, RetryPolicy } from './agent/retry.ts'
export type { JsonSchemaOptions, Schema, SchemaInput, SchemaIssue, SchemaOutput, SchemaResult } from './agent/schema.ts'
export type { Tool, ToolContext, ToolDescription, ToolInput, Tools } from './agent/tool.ts'
export { tool } from './agent/tool.ts'
export { GatewayWorker } from './agent/worker.ts'
export type { DiagnoseOptions, Diagnosis } from './audit/audit.ts'
export type { Explanation, WorkerSign } from './audit/explanation.ts'
export type { Finding, FindingKind, Severity } from './audit/finding.ts'
export type { RichMessageRequest } from './client/byai-client.ts'
export { ByaiGatewayClient } from './client/byai-client.ts'
export type { CancelAnswer, CancelOptions, CancelSessionAnswer, CancelTaskOptions } from './client/cancel.ts'
export type { ExplainOptions } from './client/client.ts'
export { GatewayClient } from './client/client.ts'
export type {
  DropOptions,
  DropProgress,
  DropResult,
  ListDeadLettersOptions,
  RedriveOptions,
  RedriveProgress,
  RedriveResult,
} from './client/dead-letter-options.ts'
export type { SessionView } from './client/fold.ts'
export { EMPTY_VIEW, foldEvent, foldEvents, taskIn } from './client/fold.ts'
export type { ClientInterceptors, SendInput } from './client/interceptors.ts'
export type { GatewayClientOptions } from './client/options.ts'
export type { PluginListing, ReloadPluginsOptions, WorkerReload } from './client/plugin-office.ts'
export type { ReplyAnswer, ReplyOptions } from './client/reply.ts'
export type { MessageOptions, SendContractRequest, SendMessageRequest } from './client/request.ts'
export type { AskOptions, ResultOptions } from './client/results.ts'
export type { SendCommandAnswer } from './client/sender.ts'
export type { DeleteSessionAnswer, DeleteSessionOptions } from './client/session-deletion.ts'
export type { SubscribeOptions } from './client/subscribe-options.ts'
export type { Subscription } from './client/subscription.ts'
export type { ListTasksOptions } from './client/task-list.ts'
export type { TaskResult } from './client/task-result.ts'
export type { TaskView, ViewStatus } from './client/task-view.ts'
export type { TextOptions } from './client/text.ts'
export type { PendingAsk, ReplyStatus } from './dispatch/asks.ts'
export type { CancelStatus } from './dispatch/canceller.ts'
export type { RedrivenLetter } from './dispatch/redrive.ts'
export type { SendAnswer } from './dispatch/send.ts'
export type { AgentCallStatus, GatewayErrorCode, RetryableErrorOptions } from './errors.ts'
export {
  AgentCallError,
  errorMessage,
  GATEWAY_ERROR_CODES,
  GatewayError,
  NonDeterminismError,
  PromptNotFoundError,
  PromptVariableError,
  RetryableError,
  TerminalError,
  ToolInputError,
  ToolNotFoundError,
} from './errors.ts'
export type { HistoryState } from './history/keeper.ts'
export type { MemoryHistoryOptions } from './history/memory.ts'
export { MemoryHistory } from './history/memory.ts'
export type { RedisHistoryOptions } from './history/redis.ts'
export { RedisHistory } from './history/redis.ts'
export type { Logger } from './logger.ts'
export { createLogger } from './logger.ts'
export type { CancelMode, CommandClass, CommandContent, GivenContent } from './protocol/command.ts'
export {
  AskAgentCommand,
  CancelTaskCommand,
  GatewayCommand,
  ResumeCommand,
  registerCommand,
} from './protocol/command.ts'
export type {
  Artifact,
  EventBody,
  EventOrigin,
  EventType,
  GapEvent,
  SessionEvent,
  TaskFault,
} from './protocol/event.ts'
export type { MessageHeaderInit } from './protocol/header.ts'
export { MessageHeader } from './protocol/header.ts'
export type { TaskRef } from './protocol/ids.ts'
export type { RichFile, RichMessage, RichResource, RichRole } from './protocol/rich-content.ts'
export type { TaskStatus, TerminalStatus } from './protocol/status.ts'
export { isTerminal, TERMINAL_STATUSES } from './protocol/status.ts'
export type { BackoffRule, RetryRule, TaskOptions } from './protocol/task-options.ts'
export type { Priority } from './redis/keys.ts'
export type { RedisInstance, RedisOption } from './redis/options.ts'
export type { DeadLetter } from './store/dead-letter.ts'
export type { DeadLetterFilter } from './store/dead-letter-filter.ts'
export type { PluginReload, WorkerPlugin } from './store/plugin-board.ts'
export type { WorkerInfo } from './store/presence.ts'
export type { LaneStats, QueueStats, QueueStatsOptions } from './store/queues.ts'
export type { AttemptFailure, TaskInfo } from './store/task-records.ts'
export type { TaskTree } from './store/task-trees.ts'
export { VERSION } from './version.ts'
export type { RunWorkerOptions, WorkerRetryPolicy } from './worker/options.ts'
export { runWorker } from './worker/run-worker.ts'
export type { RunningWorker } from './worker/worker-runtime.ts'
