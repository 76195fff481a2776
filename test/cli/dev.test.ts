import { appendFile, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { waitFor } from '../../src/testing/wait-for.ts'
import { isAlive } from '../support/processes.ts'
import { command, workerCommand } from './support/command.ts'
import { byclawWorker, type Program, startByclaw, startByclawWorker } from './support/program.ts'
import { agentSource, MODULE_PACKAGE, plainAgent, project } from './support/project.ts'
import { meetingPlace } from './support/talker.ts'

/** The URL of the Redis that `--dev` started. */
async function devUrl(worker: Program): Promise<string> {
  await worker.says(/Redis for development, gone with this process: redis:\S+\n/)
  return / (redis:\S+)\n/.exec(worker.stderr)?.[1] ?? ''
}

/** How often the worker said that it consumes. */
const starts = (worker: Program) => worker.stdout.split('worker is consuming').length - 1

/** Answers with the text that stands in its source. */
const answering = (text: string) => plainAgent().replace('heard', text)
const tsAnswering = (text: string) => agentSource().replace('heard', text)

const ask = async (url: string, what = 'x') => (await command(['send', 'echo', what, '--redis-url', url])).stdout.trim()

test('--dev brings a Redis of its own, says what to try, and takes it away again', async () => {
  const cwd = await project({ 'agent.mjs': answering('hello') })
  const worker = startByclawWorker(['--worker-class', './agent.mjs', '--dev'], { cwd })
  const url = await devUrl(worker)
  await worker.says('worker is consuming')
  const flag = url === 'redis://127.0.0.1:6379/0' ? '' : ` --redis-url ${url}`
  await worker.says(`Try in another terminal: npx byclaw send echo "Hello"${flag}\n`)
  expect(await ask(url)).toBe('hello')
  expect((await worker.end()).code).toBe(0)
  const gone = await command(['workers', '--redis-url', url, '--connect-timeout-ms', '200'])
  expect(gone.stderr).toMatch(/cannot be reached/)
  expect(worker.stdout).not.toContain('"level":40')
})

test('--dev starts none where one is given', async () => {
  const cwd = await project({ 'agent.mjs': plainAgent() })
  const { REDIS_URL, BYAI_WORKER_KEY_PREFIX: prefix } = meetingPlace()
  const args = ['--worker-class', './agent.mjs', '--dev', '--key-prefix', prefix]
  const worker = startByclawWorker(args, { cwd, env: { REDIS_URL } })
  await worker.says('Try in another terminal: npx byclaw send echo "Hello" --key-prefix')
  expect(worker.stderr).not.toContain('Redis for development')
  await worker.end()
})

test.each([
  [['--lease-ms', '1'], '--lease-ms is invalid', workerCommand],
  [['--log-level', 'loud', '--watch'], '--log-level is invalid', workerCommand],
  [['--plugin-dir', 'gone', '--watch'], '--plugin-dir is invalid: there is no such folder', workerCommand],
  [['--history-url', 'mysql://x'], '--history-url is invalid', byclawWorker],
])('--dev starts none for what is refused: %j', async (flags, reason, run) => {
  const cwd = await project({ 'agent.mjs': plainAgent() })
  const { code, stderr } = await run(['--worker-class', join(cwd, 'agent.mjs'), '--dev', ...flags])
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(/^byclaw-worker: [^\n]+\n$/) })
  expect(stderr).toContain(reason)
})

test('--dev takes its Redis away also when the worker does not come up', async () => {
  const source = plainAgent().replace('getCap', "async onStartup() { throw new Error('no model') }\n  getCap")
  const worker = startByclawWorker(['--worker-class', './agent.mjs', '--dev'], {
    cwd: await project({ 'agent.mjs': source }),
  })
  const url = await devUrl(worker)
  expect((await worker.ended).code).toBe(1)
  const gone = await command(['workers', '--redis-url', url, '--connect-timeout-ms', '200'])
  expect(gone.stderr).toMatch(/cannot be reached/)
})

test('--watch runs the worker anew on every change, and waits when it does not come up', async () => {
  const cwd = await project({ 'src/agent.ts': tsAnswering('one'), 'src/lib/helper.ts': '', 'src/notes.txt': '' })
  const worker = startByclawWorker(['--worker-class', './src/agent.ts', '--dev', '--watch'], { cwd })
  const url = await devUrl(worker)
  await worker.says('worker is consuming')
  expect(await ask(url)).toBe('one')

  await writeFile(join(cwd, 'src/agent.ts'), tsAnswering('two'))
  await waitFor(() => starts(worker) === 2, { timeoutMs: 10_000 })
  expect(await ask(url)).toBe('two')

  await appendFile(join(cwd, 'src/agent.ts'), '}')
  await worker.says(/syntax error: .*\n.*the worker has ended \(exit code 1\), waiting for a change/)
  await writeFile(join(cwd, 'src/agent.ts'), tsAnswering('three'))
  await waitFor(() => starts(worker) === 3, { timeoutMs: 10_000 })
  expect(await ask(url)).toBe('three')

  await writeFile(join(cwd, 'src/notes.txt'), 'no code')
  await appendFile(join(cwd, 'src/lib/helper.ts'), 'export {}')
  await worker.says('lib/helper.ts changed, starting the worker anew')
  await waitFor(() => starts(worker) === 4, { timeoutMs: 10_000 })
  expect(worker.stderr).not.toContain('notes.txt')

  const child = worker.log().at(-1)?.pid as number
  expect((await worker.end('SIGINT')).code).toBe(0)
  expect(isAlive(child)).toBe(false)
}, 40_000)

test('--watch passes over JSON that no code imports: a worker may write beside its code', async () => {
  const uses =
    "import one from './one.json' with { type: 'json' }\nvoid one\nvoid import('./sub/two.json', { with: { type: 'json' } })\n"
  const cwd = await project({
    'src/agent.mjs': `${uses}${answering('one')}`,
    ...{ 'src/one.json': '1', 'src/sub/two.json': '2', 'src/state.json': '3', 'package.json': MODULE_PACKAGE },
  })
  const worker = startByclawWorker(['--worker-class', './src/agent.mjs', '--watch'], { cwd, env: meetingPlace() })
  await worker.says('worker is consuming')
  for (const [count, file] of ['src/one.json', 'src/sub/two.json'].entries()) {
    await writeFile(join(cwd, 'src/state.json'), String(count))
    await writeFile(join(cwd, 'src/new.json'), String(count))
    await writeFile(join(cwd, file), '4')
    await waitFor(() => starts(worker) === count + 2, { timeoutMs: 10_000 })
  }
  expect(worker.stderr).toContain('one.json changed')
  expect(worker.stderr).toContain('two.json changed')
  expect(worker.stderr).not.toMatch(/state\.json|new\.json/)
  await worker.end()
}, 40_000)

test('--watch passes over folders that come and go: a worker may have its workspaces beside its code', async () => {
  const work = "await context.workspace.write('notes.txt', 'x')\n return 'kept'"
  const cwd = await project({ 'agent.mjs': answering('kept').replace("return 'kept'", work), 'lib/helper.mjs': '' })
  const env = meetingPlace()
  const args = ['--worker-class', './agent.mjs', '--watch', '--workspace-dir', './workspace']
  const worker = startByclawWorker(args, { cwd, env })
  await worker.says('worker is consuming')
  expect((await command(['send', 'echo', 'x'], { env })).stdout).toBe('kept\n')
  await mkdir(join(cwd, 'data'))
  // Heard of after the folders, and the only change that counts.
  await writeFile(join(cwd, 'lib/helper.mjs'), 'export {}')
  await worker.says('changed, starting the worker anew')
  await waitFor(() => starts(worker) === 2, { timeoutMs: 10_000 })
  expect(worker.stderr).toBe('lib/helper.mjs changed, starting the worker anew\n')
  await rm(join(cwd, 'lib'), { recursive: true })
  await waitFor(() => starts(worker) === 3, { timeoutMs: 10_000 })
  await worker.end()
}, 40_000)

test('--watch lets a running task end before it starts anew', async () => {
  const work =
    "await context.emitState('working')\n await new Promise((resolve) => setTimeout(resolve, 1000))\n return 'old'"
  const source = answering('old').replace("return 'old'", work)
  const cwd = await project({ 'agent.mjs': source })
  const env = meetingPlace()
  const worker = startByclawWorker(['--worker-class', './agent.mjs', '--watch'], { cwd, env })
  await worker.says('worker is consuming')
  const asking = startByclaw(['send', 'echo', 'x'], { env })
  await asking.says('working')
  await writeFile(join(cwd, 'agent.mjs'), answering('new'))
  expect((await asking.ended).stdout).toBe('old\n')
  await waitFor(() => starts(worker) === 2, { timeoutMs: 10_000 })
  expect((await command(['send', 'echo', 'x'], { env })).stdout).toBe('new\n')
  expect((await worker.end()).code).toBe(0)
})

test('--watch lets a running task end on a signal that comes while the worker is about to start anew', async () => {
  const work =
    "await context.emitState('working')\n await new Promise((resolve) => setTimeout(resolve, 2000))\n return 'old'"
  const cwd = await project({ 'agent.mjs': answering('old').replace("return 'old'", work) })
  const env = meetingPlace()
  const worker = startByclawWorker(['--worker-class', './agent.mjs', '--watch'], { cwd, env })
  await worker.says('worker is consuming')
  const asked = startByclaw(['send', 'echo', 'x'], { env })
  await asked.says('working')
  await writeFile(join(cwd, 'agent.mjs'), answering('new'))
  await worker.says('signal received, stopping')
  expect((await worker.end('SIGINT')).code).toBe(0)
  expect(worker.stdout).toContain('worker has stopped')
  expect(await asked.ended).toMatchObject({ code: 0, stdout: 'old\n' })
}, 40_000)

test('--watch ends a worker by force that computes without end, on a change and on a signal', async () => {
  // As deaf as one that computes, and leaves the processor to others.
  const endless = "await context.emitState('computing')\n Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)"
  const source = answering('old').replace("return 'old'", endless)
  const cwd = await project({ 'agent.mjs': source })
  const env = meetingPlace()
  const worker = startByclawWorker(['--worker-class', './agent.mjs', '--watch', '--lease-ms', '1000'], { cwd, env })
  await worker.says('worker is consuming')
  const asking = startByclaw(['send', 'echo', 'x'], { env })
  await asking.says('computing')
  await writeFile(join(cwd, 'agent.mjs'), answering('new'))
  expect((await asking.ended).stdout).toBe('new\n')
  expect(worker.stderr).toContain('the worker does not hear that it is to stop, ending it by force')

  await writeFile(join(cwd, 'agent.mjs'), source)
  await waitFor(() => starts(worker) === 3, { timeoutMs: 10_000 })
  const again = startByclaw(['send', 'echo', 'x'], { env })
  await again.says('computing')
  const child = worker.log().at(-1)?.pid as number
  expect((await worker.end('SIGINT')).code).toBe(1)
  expect(isAlive(child)).toBe(false)
  again.child.kill('SIGINT')
  await again.ended
}, 60_000)

test.each([[], ['--dev']])('--watch %s does not leave a worker behind when it is killed', async (...flags) => {
  const cwd = await project({ 'agent.mjs': plainAgent() })
  const env = flags.length === 0 ? meetingPlace() : {}
  const worker = startByclawWorker(['--worker-class', './agent.mjs', '--watch', ...flags], { cwd, env })
  await worker.says('worker is consuming')
  const child = worker.log().at(-1)?.pid as number
  worker.child.kill('SIGKILL')
  await waitFor(() => !isAlive(child), { timeoutMs: 15_000 })
})

test('--watch waits for a change when the agent itself says what is refused', async () => {
  const cwd = await project({ 'agent.mjs': plainAgent().replace("'echo'", "'my agent'") })
  const worker = startByclawWorker(['--worker-class', './agent.mjs', '--watch'], { cwd, env: meetingPlace() })
  await worker.says(/capability is invalid.*\n.*the worker has ended \(exit code 1\), waiting for a change/)
  await writeFile(join(cwd, 'agent.mjs'), plainAgent())
  await worker.says('worker is consuming')
  expect((await worker.end()).code).toBe(0)
})

test('--watch says at once what no change of a file can mend', async () => {
  const cwd = await project({ 'agent.mjs': plainAgent() })
  const args = ['--worker-class', './agent.mjs', '--watch', '--lease-ms', '1']
  const worker = startByclawWorker(args, { cwd, env: meetingPlace() })
  expect(await worker.ended).toMatchObject({ code: 2, stderr: expect.stringContaining('--lease-ms is invalid') })
  await rm(join(cwd, 'agent.mjs'))
  const missing = startByclawWorker(args, { cwd })
  expect(await missing.ended).toMatchObject({ code: 1, stderr: expect.stringContaining('there is no such file') })
})
