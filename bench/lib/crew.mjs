import { startChild } from './child.mjs'
import { reportOf } from './tally.mjs'

/** Worker processes which are driven as one. */
export const startCrew = (processes = 1, options = {}) => {
  const children = Array.from({ length: processes }, () => startChild('worker-process', options))
  const all = (method, args) => Promise.all(children.map((child) => child.call(method, args)))
  return {
    start: (args) => all('start', args),
    /** Resolves when one process has started all tasks; where several share them, nobody can tell. */
    allStarted: () => (processes === 1 ? children[0].event('all-started') : Promise.resolve()),
    report: async () => reportOf(await all('report')),
    memory: async () => (await all('memory'))[0],
    startProfile: () => all('startProfile'),
    stopProfile: ({ name }) =>
      Promise.all(children.map((child, number) => child.call('stopProfile', { name: `${name}${number || ''}` }))),
    stop: () => all('stop'),
    close: () => Promise.all(children.map((child) => child.close())),
  }
}
