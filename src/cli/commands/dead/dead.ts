import type { Command } from 'commander'
import { addDeadDrop } from './drop.ts'
import { addDeadList } from './list.ts'
import { addDeadRedrive } from './redrive.ts'
import { addDeadShow } from './show.ts'

/** `byclaw dead`: looks after what could not be processed or finished. */
export function addDead(program: Command): void {
  const dead = program
    .command('dead')
    .description('look after what could not be processed or finished')
    .helpCommand(false)
  addDeadList(dead)
  addDeadShow(dead)
  addDeadRedrive(dead)
  addDeadDrop(dead)
}
