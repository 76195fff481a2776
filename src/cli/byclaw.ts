#!/usr/bin/env node
import { endOnInterruption } from './interruption.ts'
import { operate } from './operator-program.ts'
import { runToEnd } from './program.ts'

endOnInterruption()
await runToEnd('byclaw', () => operate(process.argv.slice(2)))
