import { type LaneName, workerOfLane } from '../redis/keys.ts'
import { span } from '../util/span.ts'
import type { FindingDetail, FindingKind, Severity } from './finding.ts'
import { laneText } from './lane-text.ts'

const SEVERITIES: Readonly<Record<FindingKind, Severity>> = {
  'running-without-entry': 'fault',
  'waiting-without-entry': 'fault',
  'needless-entry': 'fault',
  'ghost-entry': 'fault',
  'acked-entry': 'fault',
  'not-taken-over': 'warning',
  'no-worker': 'info',
  'foreign-group': 'warning',
  'idle-consumer': 'fault',
  'key-without-ttl': 'fault',
  'orphaned-journal': 'fault',
  'listed-worker': 'fault',
  'dead-letters': 'info',
}

/** All kinds of finding, for documentation and tests. */
export const FINDING_KINDS = Object.keys(SEVERITIES) as FindingKind[]

const KEY_TTLS = {
  record: "Fix gives it the time that a finished task's record is kept by default.",
  journal: "Fix gives it the time that a finished task's record is kept by default.",
  events: "Fix gives it the time that a session's events are kept by default.",
  session: "Fix gives it the time that a finished task's record is kept by default.",
  worker: 'Fix lets it expire soon; a worker that is alive renews it.',
} as const

/** How grave a finding is. */
export function severityOf({ kind }: FindingDetail): Severity {
  return SEVERITIES[kind]
}

/** What a finding is and why it matters, and what is done or to be done about it. */
export function describe(detail: FindingDetail): { readonly text: string; readonly remedy: string } {
  switch (detail.kind) {
    case 'running-without-entry':
    case 'waiting-without-entry':
      return describeTask(detail)
    case 'needless-entry':
    case 'ghost-entry':
    case 'acked-entry':
    case 'not-taken-over':
      return describeEntry(detail)
    case 'no-worker':
    case 'foreign-group':
    case 'idle-consumer':
      return describeStream(detail)
    default:
      return describeRest(detail)
  }
}

function describeTask(detail: FindingDetail & { kind: 'running-without-entry' | 'waiting-without-entry' }) {
  const task = `Task ${detail.messageId} of session ${detail.sessionId}`
  if (detail.kind === 'waiting-without-entry') {
    return {
      text: `${task} is ${detail.status}, but no entry of '${detail.agentType}' will ever start it: its sender died in between, or the entry was deleted by hand. Who waits for it waits for ever.`,
      remedy:
        'If the task had waited for an answer, fix puts it back on its stream. Else the message itself is not known any more, and fix ends the task as FAILED (GW_TASK_STRANDED); send it again.',
    }
  }
  const text = `${task} is RUNNING on worker ${detail.workerId}, but its entry ${detail.entryId} is not pending: no lease protects it and nobody will take it over.`
  if (detail.entry === 'acked') {
    return {
      text,
      remedy: 'The entry still lies on the stream: fix makes it pending again, and a worker takes it over.',
    }
  }
  if (detail.isOwnerAlive) {
    return {
      text,
      remedy: 'Its worker is alive and may still end it, so fix does nothing; if it does not, look again.',
    }
  }
  return {
    text: `${text} Its worker is gone, too.`,
    remedy:
      'The message itself is not known any more, so fix ends the task as FAILED (GW_TASK_STRANDED); send it again.',
  }
}

function describeEntry(
  detail: FindingDetail & { kind: 'needless-entry' | 'ghost-entry' | 'acked-entry' | 'not-taken-over' },
) {
  const entry = `Entry ${detail.entryId} of ${lane(detail)}${detail.messageId === '' ? '' : ` (task ${detail.messageId} of session ${detail.sessionId})`}`
  switch (detail.kind) {
    case 'needless-entry': {
      const why =
        detail.why === 'ended'
          ? 'although its task has its end'
          : 'although its task waits for another entry or runs by it'
      return {
        text: `${entry} has been pending for consumer ${detail.consumer} for ${span(detail.idleMs)}, ${why}. It can do no harm, but it fills the stream and is handed out again and again.`,
        remedy: 'Fix acks and deletes it.',
      }
    }
    case 'ghost-entry':
      return {
        text: `${entry} is pending for consumer ${detail.consumer}, but is not on the stream any more: it was deleted without an ack, or trimmed. It fills the pending list and can never be processed.`,
        remedy: 'Fix acks it. If a task belonged to it, that is a finding of its own.',
      }
    case 'not-taken-over':
      return {
        text: `${entry} was last heard of by consumer ${detail.consumer} ${span(detail.idleMs)} ago, far longer than any lease, and no live worker has taken it over.`,
        remedy:
          'Workers take over only what they have free slots for: look at their load with `byclaw workers`, add a worker, or restart one that hangs.',
      }
    default:
      return describeAcked(entry, detail.why)
  }
}

function describeAcked(entry: string, why: 'ended' | 'stale' | 'unknown-task' | 'waits-for-it') {
  const text = `${entry} was acked but not deleted, which this library does in one act: somebody else acked it, or its group was set forward.`
  switch (why) {
    case 'waits-for-it':
      return {
        text: `${text} Its task still waits for it and would never run.`,
        remedy: 'Fix makes the entry pending again, and a worker takes it over.',
      }
    case 'unknown-task':
      return {
        text: `${text} Nothing is known of its task. It fills the stream for ever.`,
        remedy:
          'Fix leaves it, since it may be the only trace of that task; delete it with XDEL if you do not miss it.',
      }
    default:
      return { text: `${text} Nobody needs it, and it fills the stream for ever.`, remedy: 'Fix deletes it.' }
  }
}

function describeStream(detail: FindingDetail & { kind: 'no-worker' | 'foreign-group' | 'idle-consumer' }) {
  switch (detail.kind) {
    case 'no-worker':
      return describeDemand(detail)
    case 'foreign-group':
      return {
        text: `The stream of ${lane(detail)} has a second consumer group, '${detail.group}', with ${detail.pending} pending. Every group gets every task, so tasks may run twice, and what one group acks and deletes is missing in the other.`,
        remedy:
          'Give all workers of a capability the same consumerGroup. If nobody uses this one, remove it with XGROUP DESTROY.',
      }
    default:
      return {
        text: `Consumer ${detail.consumer} of ${lane(detail)} owns nothing, its worker is gone, and it has been silent for ${span(detail.idleMs)}. Workers that come and go under new names fill the group with such consumers.`,
        remedy: 'Fix removes it.',
      }
  }
}

function describeDemand(detail: FindingDetail & { kind: 'no-worker' }) {
  const { capability, priority, version, waiting, oldestMs } = detail
  const text = `${waiting} ${waiting === 1 ? 'task waits' : 'tasks wait'} on ${lane(detail)}, the oldest for ${span(oldestMs)}, and`
  const only = workerOfLane(priority)
  if (only !== undefined) {
    return {
      text: `${text} that worker is not there, or does not offer '${capability}'.`,
      remedy: `Start worker '${only}', under that very id; nothing is lost meanwhile. Or cancel the tasks.`,
    }
  }
  if (version === undefined) {
    return {
      text: `${text} no live worker offers '${capability}'.`,
      remedy: 'Start a worker; nothing is lost meanwhile.',
    }
  }
  return {
    text: `${text} no live worker offers '${capability}' and goes on with tasks of version '${version}'.`,
    remedy:
      'Start a worker of that version, or one that declares it compatible; or cancel the tasks. Nothing is lost meanwhile.',
  }
}

function describeRest(
  detail: FindingDetail & { kind: 'key-without-ttl' | 'orphaned-journal' | 'listed-worker' | 'dead-letters' },
) {
  switch (detail.kind) {
    case 'key-without-ttl':
      return {
        text: `${detail.key} (${detail.holds}) has no time to live: it would stay in Redis for ever.`,
        remedy: KEY_TTLS[detail.holds],
      }
    case 'orphaned-journal':
      return {
        text: `${detail.key} is the journal of a task that has no record any more: nobody will read it.`,
        remedy: 'Fix removes it.',
      }
    case 'listed-worker':
      return {
        text: `Worker ${detail.workerId} is gone, but stands on the list of ${detail.capability === null ? 'all workers' : `workers for '${detail.capability}'`}. Who looks at the list alone takes it for alive.`,
        remedy: 'Fix takes it off the list.',
      }
    default:
      return {
        text: `There ${detail.count === 1 ? 'is 1 dead letter' : `are ${detail.count} dead letters`} of '${detail.capability}': messages that could not be processed, kept for you.`,
        remedy: `Look at them with \`byclaw dead list ${detail.capability}\`.`,
      }
  }
}

function lane({ capability, priority }: { readonly capability: string; readonly priority: LaneName }): string {
  return laneText(capability, priority)
}
