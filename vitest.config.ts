import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^byclaw-gateway-sdk$/, replacement: here('src/index.ts') },
      { find: /^byclaw-gateway-sdk\/testing$/, replacement: here('src/testing/index.ts') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    // A process per file: what one file leaves behind can neither help nor hurt the next one.
    pool: 'forks',
    // One more than there are cores where tests run: most files wait for most of their time.
    maxWorkers: 3,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/leak-guard.ts'],
  },
})
