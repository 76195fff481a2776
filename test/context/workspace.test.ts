import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { TaskWorkspace } from '../../src/context/workspace.ts'
import { deferred } from '../../src/util/deferred.ts'
import { House } from '../worker/harness.ts'

let parent: string
beforeEach(async () => {
  parent = await mkdtemp(path.join(tmpdir(), 'byclaw-test-'))
  return () => rm(parent, { recursive: true, force: true })
})
const open = (messageId = 'm', sessionId = 's', fencingToken = 1, folder = parent) =>
  new TaskWorkspace(folder, { sessionId, messageId, fencingToken }, (_, called) => called)
const closed = expect.objectContaining({ code: 'GW_CLOSED' })
const outside = expect.objectContaining({ code: 'GW_PATH_OUTSIDE_WORKSPACE' })

test('is made on first use, private, and removed with all that is in it', async () => {
  const workspace = open()
  expect(await readdir(parent)).toEqual([])
  const written = await workspace.write('deep/down/file.txt', 'hello')
  expect(written).toBe(path.join(workspace.path, 'deep/down/file.txt'))
  expect(String(await workspace.read('deep/down/file.txt'))).toBe('hello')
  expect((await stat(workspace.path)).mode & 0o077).toBe(0)
  await workspace.remove()
  expect(await readdir(parent)).toEqual([])
  expect(() => workspace.path).toThrow(closed)
  await expect(workspace.write('file.txt', 'late')).rejects.toEqual(closed)
  expect(await readdir(parent)).toEqual([])
})

test('bytes stay bytes', async () => {
  const bytes = Uint8Array.from([0, 255, 1])
  await open().write('b.bin', bytes)
  expect(new Uint8Array(await open().read('b.bin'))).toEqual(bytes)
})

test('with an encoding a file is read as a text', async () => {
  const workspace = open()
  await workspace.write('note.txt', 'für dich')
  const text: string = await workspace.read('note.txt', 'utf8')
  expect(text).toBe('für dich')
  expect(await workspace.read('note.txt', 'base64')).toBe(Buffer.from(text).toString('base64'))
  expect(await workspace.read('note.txt')).toEqual(Buffer.from(text))
})

describe('no path leaves it', () => {
  test.each(['..', '../x', 'a/../../x', './..', '/etc/passwd', '/', '../s-sibling/x', 'a/b/../../../x'])(
    '%s',
    async (given) => {
      const workspace = open()
      expect(() => workspace.resolve(given)).toThrow(outside)
      await expect(workspace.write(given, 'x')).rejects.toEqual(outside)
      await expect(workspace.read(given)).rejects.toEqual(outside)
    },
  )

  test.each(['.', '', 'a', 'a/../b', './a', '..a', 'a..', '...'])('%j stays inside', (given) => {
    const workspace = open()
    const resolved = workspace.resolve(given)
    expect(resolved === workspace.path || resolved.startsWith(`${workspace.path}${path.sep}`)).toBe(true)
  })

  test('its own absolute path is inside', () => {
    const workspace = open()
    expect(workspace.resolve(path.join(workspace.path, 'x'))).toBe(path.join(workspace.path, 'x'))
  })

  test('not by a symbolic link: to a file, to a folder, to a folder on the way, to what is not there yet', async () => {
    const workspace = open()
    const secret = path.join(parent, 'secret')
    await mkdir(secret)
    await writeFile(path.join(secret, 'file'), 'secret')
    await symlink(path.join(secret, 'file'), path.join(workspace.path, 'to-file'))
    await symlink(secret, path.join(workspace.path, 'to-folder'))
    await symlink(path.join(secret, 'new'), path.join(workspace.path, 'to-nothing'))
    await symlink('to-nothing', path.join(workspace.path, 'to-link'))
    for (const given of [
      'to-file',
      'to-folder',
      'to-folder/file',
      'to-folder/new',
      'to-folder/a/b',
      'to-nothing',
      'to-link',
    ]) {
      expect([given, resolveOrCode(workspace, given)]).toEqual([given, 'GW_PATH_OUTSIDE_WORKSPACE'])
      await expect(workspace.write(given, 'x')).rejects.toEqual(outside)
    }
    expect(await readdir(secret)).toEqual(['file'])
  })

  test('not by a symbolic link whose target goes up from where another link leads', async () => {
    const workspace = open()
    await workspace.write('a/b/file', 'x')
    const root = workspace.path
    await symlink('../..', path.join(root, 'a/b/up'))
    // By its letters it leads to a/b/new; the system follows `up` first, to the workspace, and goes up from there.
    await symlink('a/b/up/../new', path.join(root, 'relative'))
    await symlink(`${path.join(root, 'a/b/up')}/../new`, path.join(root, 'absolute'))
    await symlink('relative', path.join(root, 'to-link'))
    for (const given of ['relative', 'absolute', 'to-link']) {
      expect([given, resolveOrCode(workspace, given)]).toEqual([given, 'GW_PATH_OUTSIDE_WORKSPACE'])
      await expect(workspace.write(given, 'x')).rejects.toEqual(outside)
    }
    expect(await readdir(parent)).toEqual([path.basename(root)])
  })

  test('a symbolic link to what is not there yet is fine where that will be inside', async () => {
    const workspace = open()
    await workspace.write('a/b/file', 'x')
    await symlink('b', path.join(workspace.path, 'a/link'))
    await symlink('a/link/../new', path.join(workspace.path, 'to-nothing'))
    await workspace.write('to-nothing', 'y')
    expect(String(await workspace.read('a/new'))).toBe('y')
  })

  test('a symbolic link that stays inside is fine', async () => {
    const workspace = open()
    await workspace.write('real/file', 'x')
    await symlink('real', path.join(workspace.path, 'link'))
    expect(String(await workspace.read('link/file'))).toBe('x')
    await workspace.write('link/other', 'y')
    expect(String(await workspace.read('real/other'))).toBe('y')
  })

  test('also where its parent is a symbolic link itself', async () => {
    await mkdir(path.join(parent, 'real'))
    await symlink(path.join(parent, 'real'), path.join(parent, 'link'))
    const workspace = open('m', 's', 1, path.join(parent, 'link'))
    await workspace.write('a/b', 'x')
    expect(String(await workspace.read('a/b'))).toBe('x')
    expect(() => workspace.resolve('../x')).toThrow(outside)
  })

  test('a byte of zero is refused', async () => {
    await expect(open().write('a\0b', 'x')).rejects.toThrow(/./)
  })
})

function resolveOrCode(workspace: TaskWorkspace, given: string): string {
  try {
    return workspace.resolve(given)
  } catch (error) {
    return (error as { code: string }).code
  }
}

describe('odd ids', () => {
  const ids = [
    '..',
    '.',
    '/',
    '../..',
    '/etc',
    'a/b',
    'a\\b',
    'ü-漢-😀',
    'con',
    'x'.repeat(256),
    '😀'.repeat(128),
    '-rf',
    '~',
    '%00',
    'A',
    'a',
    'a:b',
    'a_b',
  ]

  test('each has its own folder below the parent, and no other’s', () => {
    const folders = ids.flatMap((id) => [open(id).path, open('m', id).path])
    expect(new Set(folders).size).toBe(folders.length)
    for (const folder of folders) {
      expect(path.relative(parent, folder)).not.toBe('')
      expect(path.relative(parent, folder)).not.toContain('..')
    }
  })
})

test('each attempt has its own: one that lost its task cannot take it from its successor', async () => {
  const [first, second] = [open('m', 's', 1), open('m', 's', 2)]
  await first.write('a', 'one')
  await second.write('a', 'two')
  await first.remove()
  expect(String(await second.read('a'))).toBe('two')
})

test('a task’s folder is gone when the task has ended, and nothing of it is left', async () => {
  const house = new House()
  const seen: string[] = []
  await house.work(
    async (command, context) => {
      await context.workspace.write('notes/a.txt', 'x')
      seen.push(context.workspace.path)
      if (command.content === 'fail') throw new Error('fail')
    },
    { workspaceDir: parent },
  )
  const client = house.client()
  for (const content of ['good', 'fail'])
    await client.ask({ targetAgentType: 'agent', sessionId: `s-${content}`, content })
  await house.settled()
  expect(seen).toHaveLength(2)
  expect(new Set(seen).size).toBe(2)
  expect(seen.filter((folder) => existsSync(folder))).toEqual([])
  // Also the folder of its session, or each session would leave one for ever.
  expect(await readdir(path.dirname(seen[0] as string))).toEqual([])
})

test.each([true, false])(
  'what a handler leaves behind makes no folder after the end (used before: %s)',
  async (before) => {
    const house = new House()
    const late = deferred<PromiseSettledResult<string>>()
    await house.work(
      async (_, context) => {
        if (before) await context.workspace.write('a.txt', 'x')
        setTimeout(async () => {
          const [written] = await Promise.allSettled([context.workspace.write('late/a.txt', 'x')])
          late.resolve(written)
        }, 100)
      },
      { workspaceDir: parent },
    )
    await house.client().ask({ targetAgentType: 'agent', sessionId: 's', content: 'x' })
    expect(await late.promise).toMatchObject({ status: 'rejected', reason: { code: 'GW_CLOSED' } })
    const homes = (await readdir(parent, { withFileTypes: true })).filter((entry) => entry.isDirectory())
    expect(await Promise.all(homes.map(({ name }) => readdir(path.join(parent, name))))).toEqual(homes.map(() => []))
  },
)

test('tasks of one session that come and go do not pull the folder from under each other', async () => {
  const house = new House()
  await house.work(
    async (command, context) => {
      for (let i = 0; i < 5; i += 1) {
        await context.workspace.write(`${i}.txt`, `${command.content}`)
        expect(String(await context.workspace.read(`${i}.txt`))).toBe(command.content)
      }
    },
    { workspaceDir: parent, maxConcurrency: 20 },
  )
  const client = house.client()
  onTestFinished(() => client.close())
  const results = await Promise.all(
    Array.from({ length: 100 }, (_, i) => client.ask({ targetAgentType: 'agent', sessionId: 's', content: `${i}` })),
  )
  expect(results.filter(({ status }) => status !== 'COMPLETED')).toEqual([])
})
