import { type Command, Redis } from 'ioredis'
import { LUA } from '../src/redis/lua.generated.ts'
import { Journal } from './journal.ts'

/** Where to kill; handed over as JSON in this environment variable. */
export const CRASH_VARIABLE = 'CHAOS_CRASH_POINT'

export interface CrashPoint {
  readonly call: number
  readonly when: 'before' | 'after'
  /** Where to write down which call it was. */
  readonly journal: string
}

/**
 * Kills this process at one of its Redis calls: `before` in place of the write, `after` when the reply is there and
 * nobody has acted on it. The calls of this thread are counted, from its first read of the control streams on.
 */
export function arm({ call, when, journal }: CrashPoint): void {
  const { sendCommand } = Redis.prototype
  let consuming = false
  let count = 0
  const crash = (command: Command) => {
    const target = `${when} ${nameOf(command)}`
    new Journal(journal).note({ kind: 'fault', fault: 'crash', target, detail: `call ${call}` })
    process.kill(process.pid, 'SIGKILL')
    // The signal is on its way; nothing more is to be done meanwhile.
    for (;;);
  }
  Redis.prototype.sendCommand = function (this: Redis, command: Command, ...rest: unknown[]) {
    consuming ||= command.name.toLowerCase() === 'xreadgroup'
    if (consuming) count += 1
    const isPoint = consuming && count === call
    if (isPoint && when === 'before') crash(command)
    if (isPoint)
      void command.promise.then(
        () => crash(command),
        () => crash(command),
      )
    return Reflect.apply(sendCommand, this, [command, ...rest])
  }
}

function nameOf(command: Command): string {
  const [first] = command.args
  const script = Object.entries(LUA).find(([, { sha }]) => sha === String(first))
  return script?.[0] ?? command.name.toUpperCase()
}
