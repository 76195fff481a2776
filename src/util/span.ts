const UNITS = [
  { name: 'd', ms: 86_400_000 },
  { name: 'h', ms: 3_600_000 },
  { name: 'm', ms: 60_000 },
  { name: 's', ms: 1_000 },
] as const

/** A span of time in its largest unit: `3d`, `12m`, `4s`, `250ms`. */
export function span(ms: number): string {
  const rounded = Math.max(0, Math.round(ms))
  const unit = UNITS.find((candidate) => rounded >= candidate.ms)
  return unit === undefined ? `${rounded}ms` : `${Math.floor(rounded / unit.ms)}${unit.name}`
}
