import { sleep } from '../src/util/sleep.ts'
import type { Network } from '../test/support/network.ts'
import type { Member } from './fleet.ts'
import type { FaultKind, FaultPlan } from './plan.ts'
import type { Stage } from './stage.ts'

const COME_BACK_MOST_MS = 5_000
const LOOK_EVERY_MS = 50
/** How much later each thing comes, as a share of the time for which the network is slow. */
const LAG_SHARE = 0.1

/** Makes the trouble of a plan, and counts what was really made. */
export class Trouble {
  readonly counts = new Map<FaultKind, number>()
  readonly #stage: Stage
  /** Troubles of Redis wait for each other: it cannot be killed while it comes back. */
  #redisTurn: Promise<unknown> = Promise.resolve()

  constructor(stage: Stage) {
    this.#stage = stage
  }

  /** Resolves when the trouble is over. */
  async make({ kind, worker, durationMs }: FaultPlan): Promise<void> {
    const { members, journal } = this.#stage
    const member = members[worker % (members.length - 1)] as Member
    const target = kind.startsWith('redis') ? 'redis' : kind.startsWith('client') ? 'client' : member.name
    journal.note({ kind: 'fault', fault: kind, target, detail: `${durationMs} ms` })
    const made = await this.#carryOut({ kind, worker, durationMs }, member)
    if (made) this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
  }

  async #carryOut({ kind, worker, durationMs: ms }: Omit<FaultPlan, 'atMs'>, member: Member): Promise<boolean> {
    const { clientNetwork } = this.#stage
    switch (kind) {
      case 'kill':
        return member.kill(ms)
      case 'stop':
        return member.freeze(ms)
      case 'usurp':
        return member.usurp(ms)
      case 'roll':
        return this.#roll()
      case 'cut':
        return member.network.cut() > 0
      case 'client-cut':
        return clientNetwork.cut() > 0
      case 'hole':
        return swallow(member.network, ms)
      case 'mute':
        return swallow(member.network, ms, 'down')
      case 'lag':
        return slow(member.network, ms)
      case 'client-hole':
        return swallow(clientNetwork, ms)
      case 'client-mute':
        return swallow(clientNetwork, ms, 'down')
      case 'client-lag':
        return slow(clientNetwork, ms)
      case 'redis-kill':
      case 'redis-stop':
        return this.#inTurn(() => this.#troubleRedis(kind, worker, ms))
      case 'redis-full':
        return this.#inTurn(() => this.#stage.servers.fill(worker, ms))
      case 'redis-forget':
        return this.#inTurn(() => this.#stage.servers.forgetScripts(worker))
      case 'redis-failover':
        return this.#inTurn(() => this.#stage.servers.failOver(worker % 2 === 0))
    }
  }

  async #roll(): Promise<boolean> {
    for (const member of this.#stage.members.slice(0, -1)) {
      if (!(await member.roll())) continue
      // Other trouble may keep it away; then the next one has its turn all the same.
      const deadline = performance.now() + COME_BACK_MOST_MS
      while (!member.isConsuming && performance.now() < deadline) await sleep(LOOK_EVERY_MS)
    }
    return true
  }

  async #troubleRedis(kind: 'redis-kill' | 'redis-stop', which: number, ms: number): Promise<boolean> {
    const server = this.#stage.servers.master(which)
    server.kill(kind === 'redis-kill' ? 'SIGKILL' : 'SIGSTOP')
    await sleep(ms)
    if (kind === 'redis-kill') await server.restart()
    else server.kill('SIGCONT')
    return true
  }

  #inTurn(make: () => Promise<boolean>): Promise<boolean> {
    const turn = this.#redisTurn.then(make)
    this.#redisTurn = turn
    return turn
  }
}

/** Connections that are there fall into the hole for good, new ones until it closes. */
async function swallow(network: Network, ms: number, direction: 'down' | 'both' = 'both'): Promise<boolean> {
  network.blackHole(direction)
  await sleep(ms)
  network.pass()
  return true
}

/** The longer it lasts the slower it is. */
async function slow(network: Network, ms: number): Promise<boolean> {
  network.delay(ms * LAG_SHARE)
  await sleep(ms)
  network.delay(0)
  return true
}
