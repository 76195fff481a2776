import { afterAll } from 'vitest'
import { removeFreshKeys } from './redis.ts'

// Registered before a file registers hooks of its own, so what they close is closed when this runs.
afterAll(removeFreshKeys)
