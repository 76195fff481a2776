#!/usr/bin/env node
import { outliveReaders } from './interruption.ts'
import { runToEnd } from './program.ts'
import { work } from './worker-program.ts'

outliveReaders()
await runToEnd('byclaw-worker', () => work(process.argv.slice(2)))
