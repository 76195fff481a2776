const parseInfo = (text) =>
  Object.fromEntries(
    text
      .split('\r\n')
      .filter((line) => line.includes(':'))
      .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
  )

const cpuMicros = (info) => {
  const main = 'used_cpu_user_main_thread' in info ? '_main_thread' : ''
  return (Number(info[`used_cpu_user${main}`]) + Number(info[`used_cpu_sys${main}`])) * 1e6
}

/** CPU time of the whole server so far, all of its threads and processes. */
export const cpuMicrosOf = async (redis) => {
  const info = parseInfo(await redis.info('cpu'))
  const parts = ['user', 'sys', 'user_children', 'sys_children']
  return parts.reduce((sum, part) => sum + Number(info[`used_cpu_${part}`]), 0) * 1e6
}

/** Sets the server's counters to zero and notes its CPU time; the returned function tells what was used since. */
export const startRedisMeter = async (redis) => {
  await redis.config('RESETSTAT')
  const before = cpuMicros(parseInfo(await redis.info('cpu')))
  return async () => {
    const [cpu, stats] = await Promise.all([redis.info('cpu'), redis.info('commandstats')])
    const commands = {}
    for (const [name, value] of Object.entries(parseInfo(stats))) {
      const fields = Object.fromEntries(value.split(',').map((pair) => pair.split('=')))
      commands[name.slice('cmdstat_'.length)] = { calls: Number(fields.calls), micros: Number(fields.usec) }
    }
    return { cpuMicros: cpuMicros(parseInfo(cpu)) - before, commands }
  }
}

/** Calls per task, of a server which counts them; what a script calls inside counts too, the meter's own commands do not. */
export const commandsPerTask = (commands, tasks) =>
  commands &&
  Object.entries(commands)
    .filter(([name]) => !/^(info|config|slowlog|ping)(\||$)/.test(name))
    .reduce((sum, [, { calls }]) => sum + calls, 0) / tasks

export const memoryOf = async (redis) => {
  const info = parseInfo(await redis.info('memory'))
  return { bytes: Number(info.used_memory), keys: await redis.dbsize() }
}

export const versionOf = async (redis) => parseInfo(await redis.info('server')).redis_version

/** Below any script of the contenders, above nearly every command inside one: logging those would double a script's time. */
const LOGGED_FROM_MICROS = '15'

/** Records every script call with its time; the returned function sums them by script: `{ [sha]: { calls, micros } }`. */
export const startScriptLog = async (redis) => {
  await redis.config('SET', 'slowlog-max-len', '2000000')
  await redis.config('SET', 'slowlog-log-slower-than', LOGGED_FROM_MICROS)
  await redis.slowlog('RESET')
  return async () => {
    await redis.config('SET', 'slowlog-log-slower-than', '-1')
    const sums = {}
    for (const [, , micros, [command, sha]] of await redis.slowlog('GET', '-1')) {
      if (command.toLowerCase() !== 'evalsha') continue
      const sum = sums[sha] ?? { calls: 0, micros: 0 }
      sums[sha] = { calls: sum.calls + 1, micros: sum.micros + micros }
    }
    await redis.slowlog('RESET')
    return sums
  }
}
