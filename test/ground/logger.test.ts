import { expect, test } from 'vitest'
import { createLogger } from '../../src/logger.ts'

test('a level that pino does not know is refused by its name', () => {
  expect(() => createLogger('loud')).toThrow(
    expect.objectContaining({
      code: 'GW_INVALID_ARGUMENT',
      message: 'level is invalid: must be one of trace, debug, info, warn, error, fatal, silent (got "loud")',
    }),
  )
})
