import { afterAll, aroundEach } from 'vitest'
import { withinTest } from './on-test-finished.ts'
import { removeUsedKeys } from './redis.ts'

// Here and not where they are used: a module that several files share in one process is loaded once.
aroundEach(withinTest)
afterAll(removeUsedKeys)
