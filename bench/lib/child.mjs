import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/**
 * Starts `lib/<name>.mjs` as a process of its own and talks to it: `call(method, args)` resolves with the method's answer,
 * `event(name)` with the next event of that name. A child which dies rejects whatever waits for it.
 */
export const startChild = (name, { execArgv = [] } = {}) => {
  const child = fork(fileURLToPath(new URL(`${name}.mjs`, import.meta.url)), {
    execArgv,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    serialization: 'advanced',
  })
  const waiting = new Map()
  let last = 0
  const settle = (key, action) => {
    const waiter = waiting.get(key)
    if (waiter === undefined) return
    waiting.delete(key)
    action(waiter)
  }
  child.on('message', ({ key, value, error }) => {
    settle(key, ({ resolve, reject }) =>
      error === undefined ? resolve(value) : reject(new Error(`${name}: ${error}`)),
    )
  })
  child.on('exit', (code, signal) => {
    for (const key of [...waiting.keys()])
      settle(key, ({ reject }) => reject(new Error(`${name} ended early (${signal ?? code})`)))
  })
  const wait = (key) => {
    const { promise, resolve, reject } = withResolvers()
    promise.catch(ignore) // whoever awaits it later sees the error; until then it is not unhandled
    waiting.set(key, { resolve, reject })
    return promise
  }
  return {
    event: (eventName) => wait(`event:${eventName}`),
    call: (method, args = {}) => {
      const key = ++last
      const answer = wait(key)
      child.send({ key, method, args })
      return answer
    },
    /** Lets the child end by itself (a cpu profile is written then), or ends it. */
    close: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.disconnect()
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
      await exited
      clearTimeout(timer)
    },
  }
}

/** The other side: answers calls by the methods of `handlers`; leaves when the parent disconnects. */
export const serveParent = (handlers) => {
  process.on('message', async ({ key, method, args }) => {
    try {
      process.send({ key, value: await handlers[method](args) })
    } catch (error) {
      process.send({ key, error: error.stack ?? String(error) })
    }
  })
  process.on('disconnect', () => process.exit(0))
}

export const sendEvent = (name, value) => process.send({ key: `event:${name}`, value })

const ignore = () => undefined

export const withResolvers = () => {
  let resolve
  let reject
  const promise = new Promise((accept, refuse) => {
    resolve = accept
    reject = refuse
  })
  return { promise, resolve, reject }
}
