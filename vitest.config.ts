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
    pool: 'forks',
    // To load everything anew for each file takes a fifth of a run. What a file must not leave to the next one in its
    // process, its own hooks and the leak guard see to.
    isolate: false,
    // One more than there are cores where tests run: most files wait for most of their time.
    maxWorkers: 3,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/leak-guard.ts', 'test/support/each-file.ts'],
  },
})
