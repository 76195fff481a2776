import { promisify } from 'node:util'
import { afterAll } from 'vitest'
import { OpenResources } from './open-resources.ts'

// What is being closed may take its time; nothing that closes properly takes this long.
const GRACE_ROUNDS = 60
const ROUND_MS = 20

// Taken now, since a test may leave fake timers behind.
const sleep = promisify(setTimeout)
const resources = new OpenResources()

// The first hook to be registered, so the last one to run: after everything the file itself closes in its hooks.
afterAll(async () => {
  for (let round = 0; round < GRACE_ROUNDS && resources.list().length > 0; round += 1) await sleep(ROUND_MS)
  const open = resources.list()
  resources.close()
  if (open.length > 0) throw new Error(`this test file leaves open what it opened: ${open.join(', ')}`)
})
