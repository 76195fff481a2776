import type { SessionEvent } from '../protocol/event.ts'

/** What an event says, in words, without its type. */
export function eventText(event: SessionEvent): string {
  switch (event.type) {
    case 'chunk':
      return event.content
    case 'state':
      return `${event.state}${event.detail === undefined ? '' : ` ${JSON.stringify(event.detail)}`}`
    case 'data':
      return JSON.stringify(event.data) ?? ''
    case 'artifact':
      return [event.artifact.name, event.artifact.url].filter(Boolean).join(' ')
    case 'ask_user':
      return `${event.prompt} (ask id ${event.askId})`
    case 'rewind':
      return event.toId === '0-0' ? 'forget what it said so far' : `forget what it said after ${event.toId}`
    case 'gap':
      return `events after ${event.fromId} were trimmed before they could be read`
    case 'error':
      return `${event.message} (${event.code})${event.retrying ? ', trying again' : ''}`
    case 'done':
      return doneText(event)
    default:
      return unknownEvent(event)
  }
}

function doneText({ status, result, error }: SessionEvent & { readonly type: 'done' }): string {
  if (error !== undefined) return `${status}: ${error.message} (${error.code})`
  return result === undefined || result === null ? status : `${status} ${JSON.stringify(result)}`
}

function unknownEvent(event: never): string {
  return JSON.stringify(event)
}
