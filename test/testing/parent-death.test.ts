import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { isAlive } from '../support/processes.ts'
import { bringPrograms, INSTALL_TIMEOUT_MS } from '../support/programs.ts'

const PARENT = fileURLToPath(new URL('fixtures/parent.ts', import.meta.url))

interface Servers {
  readonly parent: ChildProcess
  readonly pids: number[]
  readonly folders: string[]
}

beforeAll(bringPrograms, INSTALL_TIMEOUT_MS)

/** A process with servers of its own. */
async function startParent(ending: string, kinds = 'redis'): Promise<Servers> {
  const parent = spawn(process.execPath, ['--import', 'tsx', PARENT, ending, kinds], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  onTestFinished(() => void parent.kill('SIGKILL'))
  const lines = createInterface({ input: parent.stdout })
  const [line]: string[] = await once(lines, 'line')
  return { parent, ...(JSON.parse(line ?? '') as { pids: number[]; folders: string[] }) }
}

async function expectNothingLeft({ pids, folders }: Servers): Promise<void> {
  await waitFor(() => !pids.some(isAlive), { timeoutMs: 5000, message: 'the servers to follow their parent' })
  await waitFor(() => !folders.some((folder) => existsSync(folder)), { message: 'the folders to be removed' })
}

test('a parent killed by SIGKILL leaves no server and no folder behind', async () => {
  const servers = await startParent('wait', 'redis,postgres')
  expect(servers.pids.filter(isAlive)).toHaveLength(2)
  expect(servers.folders.filter((folder) => existsSync(folder))).toHaveLength(2)
  servers.parent.kill('SIGKILL')
  await expectNothingLeft(servers)
})

test('nor does one whose whole process group is killed', async () => {
  const servers = await startParent('wait')
  process.kill(-(servers.parent.pid ?? 0), 'SIGKILL')
  await expectNothingLeft(servers)
})

test('nor does one that is told to terminate and has no handler', async () => {
  const servers = await startParent('wait')
  servers.parent.kill('SIGTERM')
  await expectNothingLeft(servers)
})

test('nor one that exits of its own will', async () => {
  const servers = await startParent('exit')
  await once(servers.parent, 'exit')
  await expectNothingLeft(servers)
})

test('nor one that forgets to stop them: they do not keep it alive', async () => {
  const servers = await startParent('forget')
  const [code] = await once(servers.parent, 'exit')
  expect(code).toBe(0)
  await expectNothingLeft(servers)
})
