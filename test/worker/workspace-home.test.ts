import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { WorkspaceHome } from '../../src/worker/workspace-home.ts'
import { startChild } from './child.ts'
import { House, memoryLogger } from './harness.ts'

let parent: string
beforeEach(async () => {
  parent = await mkdtemp(path.join(tmpdir(), 'byclaw-home-test-'))
  return () => rm(parent, { recursive: true, force: true })
})

/** A worker in a process of its own whose task keeps a file in its workspace, and never ends. */
async function startKeeper(how: 'keep' | 'keep and block', workspaceDir = parent) {
  const house = new House()
  const { child, said } = await startChild(house, 'keeper', 5_000, { workspaceDir })
  const client = house.client()
  await client.sendMessage({ targetAgentType: 'agent', sessionId: 's', content: how })
  const line = () => said.find((text) => text.startsWith('keeps '))
  await waitFor(() => line() !== undefined, { message: 'the task to write' })
  const folder = line()?.slice('keeps '.length) ?? ''
  return { child, file: path.join(folder, 'deep/file'), home: path.dirname(folder) }
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  await once(child, 'exit')
}

/** Lets a worker start that looks for what the dead have left; it has done so when this resolves. */
async function sweep(workspaceDir = parent) {
  const marker = await deadHome(workspaceDir)
  const house = new House()
  const worker = await house.work(() => null, { workspaceDir })
  await waitFor(() => !existsSync(marker), { message: 'the sweep' })
  // In whatever order they are looked at, the others take no longer.
  await pause(100)
  await worker.stop()
  return house.logger.lines.filter(({ level, message }) => level === 'warn' && message.includes('workspaces'))
}

/** The home of a process that has ended: its mark lies there, and nobody listens at it. */
async function deadHome(workspaceDir = parent): Promise<string> {
  const home = new WorkspaceHome({ workspaceDir, logger: memoryLogger() })
  await home.start()
  const folder = home.path
  // What a mark is when its process has gone: a socket under a name of its own stays when the other name is taken away.
  await rename(`${folder}.alive`, `${folder}.kept`)
  await home.stop()
  await rename(`${folder}.kept`, `${folder}.alive`)
  await mkdir(path.join(folder, 'task'), { recursive: true })
  await writeFile(path.join(folder, 'task/file'), 'left')
  return folder
}

test('what a killed worker has left is removed when the next one starts', async () => {
  const { child, file, home } = await startKeeper('keep')
  await kill(child)
  expect(existsSync(file)).toBe(true)
  const house = new House()
  const worker = await house.work(() => null, { workspaceDir: parent })
  await waitFor(() => !existsSync(home), { message: 'the home to be removed' })
  await waitFor(async () => (await readdir(parent)).length === 0, { message: 'its mark to be removed' })
  const lines = house.logger.lines.filter(({ message }) => message.includes('workspaces'))
  expect(lines).toMatchObject([{ level: 'info', fields: { folder: home } }])
  await worker.stop()
})

describe('what a living worker has stays', () => {
  test('while its event loop is blocked', async () => {
    const { child, file, home } = await startKeeper('keep and block')
    for (let round = 0; round < 3; round += 1) expect(await sweep()).toEqual([])
    expect(existsSync(file)).toBe(true)
    await kill(child)
    await new House().work(() => null, { workspaceDir: parent })
    await waitFor(() => !existsSync(home), { message: 'the home to be removed' })
  })

  test('while its process is stopped', async () => {
    const { child, file } = await startKeeper('keep')
    child.kill('SIGSTOP')
    onTestFinished(() => void child.kill('SIGCONT'))
    expect(await sweep()).toEqual([])
    expect(existsSync(file)).toBe(true)
  })

  test('when its folder was moved away and back', async () => {
    const { file } = await startKeeper('keep')
    await rename(parent, `${parent}-moved`)
    await rename(`${parent}-moved`, parent)
    expect(await sweep()).toEqual([])
    expect(existsSync(file)).toBe(true)
  })

  test('of the same process', async () => {
    const house = new House()
    const seen: string[] = []
    await house.work((_, context) => seen.push(context.workspace.path), { workspaceDir: parent })
    await house.client().ask({ targetAgentType: 'agent', sessionId: 's', content: 'hi' })
    await sweep()
    expect(existsSync(path.dirname(seen[0] as string))).toBe(true)
  })
})

test('what cannot be judged stays: of another kernel or file system, without a mark, or no home at all', async () => {
  const dead = await deadHome()
  const [vantage = '', id = ''] = path.basename(dead).split('-')
  const elsewhere = `${vantage.replace(/^./, (first) => (first === '0' ? '1' : '0'))}-${id}`
  await rename(dead, path.join(parent, elsewhere))
  await rename(`${dead}.alive`, path.join(parent, `${elsewhere}.alive`))
  const without = `${vantage}-${'0'.repeat(16)}`
  const others = [without, 'm-0123456789abcdef-1', 'notes', `${vantage}-x`, `${vantage}-${'1'.repeat(17)}`]
  for (const name of others) await mkdir(path.join(parent, name, 'task'), { recursive: true })
  expect(await sweep()).toEqual([])
  expect((await readdir(parent)).sort()).toEqual([...others, elsewhere, `${elsewhere}.alive`].sort())
})

test('no link is followed: neither one in the place of a home nor one in a home', async () => {
  const outside = await mkdtemp(path.join(tmpdir(), 'byclaw-outside-'))
  onTestFinished(() => rm(outside, { recursive: true, force: true }))
  await writeFile(path.join(outside, 'precious'), 'x')
  const [home, replaced] = [await deadHome(), await deadHome()]
  await symlink(outside, path.join(home, 'task/link'))
  await symlink(path.join(outside, 'precious'), path.join(home, 'link'))
  await rm(replaced, { recursive: true })
  await symlink(outside, replaced)
  expect(await sweep()).toEqual([])
  expect(existsSync(home)).toBe(false)
  expect(await readdir(outside)).toEqual(['precious'])
})

test('the path of its parent may be longer than that of a socket', async () => {
  const deep = path.join(parent, 'x'.repeat(100), 'y'.repeat(100))
  const { child, file, home } = await startKeeper('keep', deep)
  await sweep(deep)
  expect(existsSync(file)).toBe(true)
  await kill(child)
  await sweep(deep)
  expect(existsSync(home)).toBe(false)
})

test('nothing is made for tasks that do not use it, and nothing stays when the worker has stopped', async () => {
  const house = new House()
  const worker = await house.work(
    async (command, context) => {
      if (command.content === 'write') await context.workspace.write('a', 'b')
    },
    { workspaceDir: parent },
  )
  const ask = (content: string) => house.client().ask({ targetAgentType: 'agent', sessionId: 's', content })
  await ask('nothing')
  expect(await readdir(parent)).toEqual([])
  await ask('write')
  await ask('write')
  expect(await readdir(parent)).toHaveLength(2)
  await worker.stop()
  expect(await readdir(parent)).toEqual([])
})
