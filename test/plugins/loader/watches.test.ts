import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { FileWatch } from '../../../src/cli/file-watch.ts'
import { FolderWatch } from '../../../src/plugins/loader/folder-watch.ts'
import { eventually } from './support.ts'

/** A folder, and beside it a link to itself, which no look gets through (ELOOP). */
async function places(): Promise<{ readonly folder: string; readonly loop: string }> {
  const root = await realpath(await mkdtemp(join(tmpdir(), 'byclaw-watch-')))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const [folder, loop] = [join(root, 'folder'), join(root, 'loop')]
  await mkdir(folder)
  await symlink('loop', loop)
  return { folder, loop }
}

test('what cannot be watched is told, and the rest is watched all the same', async () => {
  const { folder, loop } = await places()
  const [heard, errors]: [string[], unknown[]] = [[], []]
  await using _ = await FolderWatch.on([loop, folder], {
    onChange: (file) => heard.push(file),
    onError: (error) => errors.push(error),
  })
  expect(errors).toMatchObject([{ code: 'ELOOP' }])
  // With an error beforehand it is ready too soon, so what is written first may be taken for what was there.
  await eventually(async () => {
    await writeFile(join(folder, 'a.ts'), crypto.randomUUID())
    return heard.includes(join(folder, 'a.ts'))
  })
})

test('links that lead in circles are not followed: a watch begins, hears of the rest, and has no errors', async () => {
  const { folder } = await places()
  await mkdir(join(folder, 'sub'))
  for (const [link, target] of [
    ['again', '.'],
    ['itself', '.'],
    ['sub/up', '../..'],
    ['sub/back', '..'],
  ] as const)
    await symlink(target, join(folder, link))
  const [heard, errors]: [string[], unknown[]] = [[], []]
  const listeners = { onChange: (file: string) => heard.push(file), onError: (error: unknown) => errors.push(error) }
  await using _plugins = await FolderWatch.on([folder], listeners)
  await using _worker = await FileWatch.on(folder, listeners)
  await writeFile(join(folder, 'sub/a.ts'), '')
  await eventually(() => heard.includes(join(folder, 'sub/a.ts')) && heard.includes(join('sub', 'a.ts')))
  expect(new Set(heard)).toEqual(new Set([join(folder, 'sub/a.ts'), join('sub', 'a.ts')]))
  expect(errors).toEqual([])
})

test('a worker whose folder cannot be watched begins all the same, and is told', async () => {
  const { loop } = await places()
  const errors: unknown[] = []
  await using _ = await FileWatch.on(loop, { onChange: () => undefined, onError: (error) => errors.push(error) })
  expect(errors).toMatchObject([{ code: 'ELOOP' }])
})
