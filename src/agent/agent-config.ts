import type { Tools } from './tool.ts'

/** What becomes of something that an earlier plugin (or the worker) has declared already. */
export type ConflictPolicy = 'error' | 'overwrite' | 'skip'

/** What a plugin adds to an agent. */
export interface AgentConfig {
  /** Whom it concerns: a name by which handlers find it, such as the agent's type. */
  readonly agentId: string
  /** Tools by name. All tools of a worker and its plugins share one namespace, whoever's they are. */
  readonly tools?: Tools | undefined
  /** Templates by name. `{{city}}` is a variable, `\{{` stands for the braces themselves. */
  readonly prompts?: Readonly<Record<string, string>> | undefined
  /** Types of agents that it may call; those of several plugins add up. */
  readonly subAgents?: readonly string[] | undefined
  /** What it is to know, in whatever form; that of several plugins adds up. */
  readonly knowledge?: readonly unknown[] | undefined
  /** Anything else, by name. */
  readonly extra?: Readonly<Record<string, unknown>> | undefined
  /**
   * What happens if a tool, a prompt or an extra of that name is there already, from a plugin before this one: `error`
   * (default) refuses this plugin, `overwrite` replaces what is there, `skip` keeps it. A tool of the worker itself is
   * never replaced: there `overwrite` does the same as `skip`.
   */
  readonly onConflict?: ConflictPolicy | undefined
}

/** All that the plugins of a worker have declared for one agent. */
export interface MergedAgentConfig {
  readonly agentId: string
  /** Names of its tools. */
  readonly tools: readonly string[]
  /** Templates by name, as they were written. */
  readonly prompts: Readonly<Record<string, string>>
  readonly subAgents: readonly string[]
  readonly knowledge: readonly unknown[]
  readonly extra: Readonly<Record<string, unknown>>
}

/** A plugin that is another one than before a task was suspended; null where there is none. */
export interface PluginVersionChange {
  readonly pluginId: string
  readonly from: string | null
  readonly to: string | null
}
