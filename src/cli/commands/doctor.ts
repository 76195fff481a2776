import type { Command } from 'commander'
import type { Diagnosis } from '../../audit/audit.ts'
import type { Finding, Severity } from '../../audit/finding.ts'
import { checkCapability } from '../../protocol/ids.ts'
import type { Desk } from '../desk.ts'
import { EXIT } from '../failure.ts'
import { addGroupFlag, groupOf } from '../group-setting.ts'
import { withClient } from '../operator.ts'
import { milliseconds, positiveInteger } from '../option-values.ts'
import { printable } from '../table.ts'
import type { Format } from '../terminal.ts'

interface DoctorOptions {
  readonly fix?: true
  readonly capability?: string
  readonly limit?: number
  readonly intervalMs?: number
  readonly json?: true
}

const COLOURS: Readonly<Record<Severity, Format>> = { fault: 'red', warning: 'yellow', info: 'cyan' }

/** `byclaw doctor`: checks what should hold on a live system, explains what does not, and repairs it. */
export function addDoctor(program: Command): void {
  const command = program
    .command('doctor')
    .description('look for what should not be, and repair it; the exit code is 0 only when no fault or warning remains')
    .option('--fix', 'repair what can be repaired')
    .option('--capability <name>', "only this capability's streams and tasks")
    .option('--limit <n>', 'look at so many records and entries at most; default 100000', positiveInteger)
    .option('--interval-ms <ms>', 'time between the two looks; default a lease', milliseconds)
    .option('--json', 'one JSON object per finding')
  withClient<DoctorOptions>(addGroupFlag(command), doctor, { capability: '--capability' })
}

async function doctor(desk: Desk, options: DoctorOptions): Promise<number> {
  const { fix, limit, intervalMs, json } = options
  const capability = options.capability && checkCapability('capability', options.capability)
  const consumerGroup = groupOf(options)
  if (!json) desk.remark(desk.paintRemark('dim', 'looking twice, some seconds apart …'))
  const diagnosis = await desk.client.diagnose({ fix, capability, limit, intervalMs, consumerGroup })
  for (const finding of diagnosis.findings) {
    if (json) desk.print(JSON.stringify(finding))
    else for (const line of findingLines(finding, desk)) desk.print(line)
  }
  for (const note of diagnosis.notes) desk.remark(note)
  if (!json) desk.remark(summary(diagnosis))
  return diagnosis.findings.some(remains) ? EXIT.failure : 0
}

function findingLines(finding: Finding, { paint }: Desk): string[] {
  const { severity, kind, text, remedy, fixed } = finding
  const after = fixed ? paint('green', 'repaired') : `→ ${printable(remedy)}`
  return [`${paint(COLOURS[severity], severity)} ${paint('bold', kind)}`, `  ${printable(text)}`, `  ${after}`]
}

function summary({ findings, recordsSeen, entriesSeen }: Diagnosis): string {
  const seen = `looked at ${recordsSeen} records and ${entriesSeen} entries of control streams`
  const left = findings.filter(remains)
  if (findings.length === 0) return `${seen}: nothing to tell`
  const repaired = findings.filter(({ fixed }) => fixed).length
  const fixable = left.filter((finding) => finding.fixable).length
  const hint = fixable > 0 ? `; --fix repairs ${fixable}` : ''
  return `${seen}: ${findings.length} found, ${repaired} repaired, ${left.length} to look after${hint}`
}

/** What explains a state of affairs needs nobody's care. */
function remains({ severity, fixed }: Finding): boolean {
  return severity !== 'info' && !fixed
}
