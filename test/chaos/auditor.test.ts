import { describe, expect, test } from 'vitest'
import { audit, tally } from '../../chaos/auditor.ts'
import type { Check } from '../../chaos/evidence.ts'
import type { Work } from '../../chaos/work.ts'
import { goodScene, Scene } from './evidence.ts'

/** What the audit finds, as `check: text`. */
function found(scene: Scene): string[] {
  return audit(scene.evidence()).map(({ check, text }) => `${check}: ${text}`)
}

function expectFinding(scene: Scene, check: Check, text: RegExp): void {
  expect(found(scene)).toEqual(
    expect.arrayContaining([expect.stringMatching(new RegExp(`^${check}: .*${text.source}`))]),
  )
}

/** A task that ended without a word, as a handler that says nothing leaves it. */
function silent(work: Work, state: string, status: string): Scene {
  const scene = new Scene().send(work).start(1)
  scene.event({ type: 'done', status })
  return scene.record(state, 1)
}

const QUICK: Work = { kind: 'quick' }

test('a run in which a worker died and another took over is clean', () => {
  expect(found(goodScene())).toEqual([])
  expect(tally(goodScene().evidence())).toMatchObject({ tasks: 1, accepted: 1, completed: 1, starts: 2, rewinds: 1 })
})

describe('the end of a task', () => {
  test('an accepted task without an end is lost', () => {
    expectFinding(new Scene().send(QUICK), 'lost', /has no record/)
    expectFinding(new Scene().send(QUICK).record('Q', 0), 'lost', /is still Q/)
  })

  test('a task that waits for a retry is lost, too', () => {
    expectFinding(new Scene().send(QUICK).start(1).record('T', 1), 'lost', /is still T/)
  })

  test('an end without a done event is lost for those who read, accepted or not', () => {
    expectFinding(new Scene().send(QUICK).start(1).record('F', 1), 'lost', /no done event/)
    expectFinding(new Scene().send(QUICK, 'ERROR').start(1).record('F', 1), 'lost', /without a done event/)
  })

  test('two done events are a repeated end', () => {
    const scene = goodScene()
    scene.event({ type: 'done', status: 'COMPLETED' })
    expectFinding(scene, 'repeated', /2 done events/)
  })

  test('a done event against the record, or without it, is a wrong end', () => {
    expectFinding(goodScene().record('F', 2), 'wrong-end', /FAILED by its record and COMPLETED by its done/)
    expectFinding(goodScene().record('R', 2), 'wrong-end', /its record does not say so/)
  })

  test('the end must be that of the work', () => {
    const scene = goodScene().record('F', 2, { errorCode: 'GW_TASK_FAILED' })
    expectFinding(scene, 'wrong-end', /ended FAILED GW_TASK_FAILED, but a 'chunks' task ends COMPLETED/)
    expectFinding(silent({ kind: 'terminal', count: 0 }, 'C', 'COMPLETED'), 'wrong-end', /ends FAILED/)
  })

  test('a send that was answered by an error may have run, once', () => {
    const scene = goodScene()
    scene.journal = scene.journal.filter(({ kind }) => kind !== 'answer')
    expect(found(scene)).toEqual([])
  })

  test('EXPIRED is for those with a time limit', () => {
    expectFinding(silent(QUICK, 'E', 'EXPIRED'), 'wrong-end', /no time limit/)
    const scene = new Scene().send(QUICK, 'QUEUED', true)
    scene.event({ type: 'done', status: 'EXPIRED' })
    expect(found(scene.record('E', 0))).toEqual([])
  })

  test('who waited for the result was told the same', () => {
    const scene = goodScene().note({ kind: 'result', task: 't1', status: 'FAILED', attempts: 1 })
    expectFinding(scene, 'wrong-end', /was told FAILED, but it ended COMPLETED/)
  })
})

describe('cancels', () => {
  const cancelled = (state: string, end: string, ...told: string[]) => {
    const scene = silent(QUICK, state, end)
    if (end === 'COMPLETED') scene.note({ kind: 'end', task: 't1', token: 1, how: 'returned' })
    for (const status of told) {
      scene.note({ kind: 'cancel', task: 't1' }).note({ kind: 'cancelled', task: 't1', status })
    }
    return scene
  }

  test.each(['CANCELLED', 'CANCEL_REQUESTED'])('who was told %s is right only if the task ended CANCELLED', (told) => {
    expect(found(cancelled('X', 'CANCELLED', told))).toEqual([])
    expectFinding(cancelled('C', 'COMPLETED', told), 'wrong-end', new RegExp(`was told ${told}`))
  })

  test('who was told ALREADY_FINISHED did not cancel', () => {
    expect(found(cancelled('C', 'COMPLETED', 'ALREADY_FINISHED'))).toEqual([])
    expectFinding(cancelled('X', 'CANCELLED', 'ALREADY_FINISHED'), 'wrong-end', /nobody was told/)
  })

  test('who was told of an error may have cancelled', () => {
    expect(found(cancelled('X', 'CANCELLED', 'ERROR', 'ALREADY_FINISHED'))).toEqual([])
    expect(found(cancelled('C', 'COMPLETED', 'ERROR'))).toEqual([])
  })

  test('a task that nobody cancelled does not end CANCELLED', () => {
    expectFinding(silent(QUICK, 'X', 'CANCELLED'), 'wrong-end', /nobody was told/)
  })
})

describe('the fence', () => {
  test('a token is given once', () => {
    expectFinding(goodScene().start(2), 'repeated', /token 2 was given to 2 handlers/)
  })

  test('a chunk of an earlier token after one of a later token is stale', () => {
    const scene = goodScene()
    const [done] = scene.events.splice(-1)
    scene.chunk(1, 1)
    scene.events.push(done!)
    expectFinding(scene, 'stale', /chunk 1 of token 1 was taken after a chunk of token 2/)
  })

  test('a chunk that is younger than the start of the next attempt is stale', () => {
    const scene = new Scene().send({ kind: 'chunks', count: 1, pauseMs: 0 }).start(1).start(2)
    scene.chunk(1, 0)
    expectFinding(scene.record('R', 2), 'stale', /chunk 0 of token 1 was taken 10 ms after the start of token 2/)
  })

  test('a chunk of a token that nobody was given is stale', () => {
    const scene = goodScene()
    scene.journal = scene.journal.filter((entry) => entry.kind !== 'start' || entry.token !== 1)
    expectFinding(scene, 'stale', /chunks of token 1, which never started/)
  })

  test('anything after the done event is stale', () => {
    const scene = goodScene()
    scene.event({ type: 'state' })
    expectFinding(scene, 'stale', /a state event follows its done event/)
  })

  test('a handler that starts after the end is stale', () => {
    expectFinding(goodScene().start(3), 'stale', /started with token 3 though the record is at 2/)
  })

  test('the result is that of the owner, who returned it', () => {
    expectFinding(goodScene().record('C', 2, { resultToken: 1 }), 'stale', /result is that of token 1/)
    const scene = goodScene()
    scene.journal = scene.journal.filter(({ kind }) => kind !== 'end')
    expectFinding(scene, 'stale', /no handler of token 2 returned/)
  })

  test('nothing is tried more often than its budget allows', () => {
    expectFinding(goodScene().start(4, 4), 'repeated', /was tried 4 times of at most 3/)
  })

  test('what a stale attempt does outside is for the token to refuse', () => {
    const scene = goodScene()
    scene.note({ kind: 'effect', task: 't1', token: 1 }).note({ kind: 'effect', task: 't1', token: 2 })
    expect(found(scene)).toEqual([])
    expect(tally(scene.evidence())['effects a token refused']).toBe(1)
  })
})

describe('output', () => {
  test('an acknowledged chunk that is not in the session is missed', () => {
    const scene = goodScene()
    scene.events = scene.events.filter(({ token, n }) => token !== 2 || n !== 1)
    expectFinding(scene, 'output', /chunk 1 of token 2 was acknowledged/)
  })

  test('a chunk that is in the session twice is repeated', () => {
    const scene = goodScene()
    const [done] = scene.events.splice(-1)
    scene.chunk(2, 2)
    scene.events.push(done!)
    expectFinding(scene, 'repeated', /chunk 2\/2 .* 2 times/)
  })

  test('the text that stands is that of one attempt', () => {
    const scene = goodScene()
    scene.events = scene.events.filter(({ type }) => type !== 'rewind')
    expectFinding(scene, 'output', /ended COMPLETED and says 't1\/0;t1\/0;t1\/1;t1\/2;'/)
  })

  test('a rewind takes back only what comes after its event', () => {
    const scene = new Scene().send({ kind: 'chunks', count: 2, pauseMs: 0 }).start(1)
    const kept = scene.chunk(1, 0)
    scene.chunk(1, 1)
    scene.start(2)
    scene.event({ type: 'rewind', toId: kept })
    scene.chunk(2, 1)
    scene.note({ kind: 'end', task: 't1', token: 2, how: 'returned' })
    scene.event({ type: 'done', status: 'COMPLETED' })
    expect(found(scene.record('C', 2))).toEqual([])
  })

  test('a task that failed says the beginning of what it would have said', () => {
    const scene = new Scene().send({ kind: 'terminal', count: 2 }).start(1)
    scene.chunk(1, 1)
    scene.event({ type: 'done', status: 'FAILED' })
    expectFinding(scene.record('F', 1), 'output', /ended FAILED and says 't1\/1;'/)
  })
})

describe('readers', () => {
  const seenAt = (scene: Scene) => scene.journal.flatMap(({ kind }, index) => (kind === 'seen' ? [index] : []))

  test('an event that was not seen is missed', () => {
    const scene = goodScene()
    scene.journal.splice(seenAt(scene)[2]!, 1)
    expectFinding(scene, 'reader', /missed 1 of 6 events/)
  })

  test('an event that was seen twice, or too late', () => {
    const scene = goodScene()
    const [first, second] = seenAt(scene) as [number, number]
    const again = scene.journal[first]!
    scene.journal.splice(second + 1, 0, again)
    expectFinding(scene, 'reader', /again or too late/)
  })

  test('an event that is not in the session', () => {
    const scene = goodScene()
    scene.note({ kind: 'seen', reader: 'r1', id: '9999999999999-0', type: 'chunk' })
    expectFinding(scene, 'reader', /not in the session/)
  })

  test('a gap where nothing was trimmed', () => {
    const scene = goodScene()
    scene.note({ kind: 'seen', reader: 'r1', id: '9999999999999-0', type: 'gap' })
    expectFinding(scene, 'reader', /told of a gap/)
  })

  test('a reader of one task ends with its done event, not without', () => {
    const scene = goodScene()
    scene.readers[0] = { reader: 'r1', session: 's1', task: 't1', atMs: 0 }
    expectFinding(scene, 'reader', /did not end though its task is done/)
    scene.journal = scene.journal.filter(({ kind }) => kind !== 'read')
    scene.note({ kind: 'read', reader: 'r1', how: 'ended' })
    expect(found(scene)).toEqual([])
    scene.journal.splice(seenAt(scene).at(-1)!, 1)
    expectFinding(scene, 'reader', /ended without a done event/)
  })
})

describe('what is left', () => {
  test('entries on control streams', () => {
    const scene = goodScene()
    scene.rest.control.push({ stream: 'other', length: 2, pending: 1, owners: ['dead'] })
    expectFinding(scene, 'leftover', /still has 2 entries/)
    expectFinding(scene, 'leftover', /still has 1 pending entries, of dead/)
  })

  test('a key that stays for ever', () => {
    const scene = goodScene()
    scene.rest.keys.push({ key: 'agenda', type: 'zset', ttlMs: -1 })
    expectFinding(scene, 'leftover', /a zset that stays for ever/)
  })

  test('the record of a task that was never accepted and never runs', () => {
    expectFinding(new Scene().send(QUICK, 'ERROR').record('Q', 0), 'leftover', /stays in state Q/)
  })

  test('a failure without its dead letter', () => {
    expectFinding(silent({ kind: 'fail', count: 0 }, 'F', 'FAILED'), 'dead-letter', /FAILED without a dead letter/)
  })

  test('a dead letter without a cause', () => {
    const scene = goodScene()
    scene.rest.letters.push({ capability: 'chaos', reason: 'too-many-deliveries', task: 't1', data: '' })
    expectFinding(scene, 'dead-letter', /a 'chunks' task, COMPLETED, is a dead letter/)
  })

  test('poison that vanished', () => {
    const scene = goodScene().note({ kind: 'poison', mark: 'mark', entryId: '1-0' })
    expectFinding(scene, 'dead-letter', /poison 'mark' is not among the dead letters/)
    scene.rest.letters.push({ capability: 'chaos', reason: 'bad-json', task: '', data: '{ "mark"' })
    expect(found(scene)).toEqual([])
  })
})
