const PAUSE_MS = 2_000

/** A count of letters in words. */
export function letters(count: number): string {
  return `${count} dead letter${count === 1 ? '' : 's'}`
}

/** Says how far something has come, every few seconds: what is done sooner needs no telling. */
export function nowAndThen(say: (line: string) => void): (line: string) => void {
  let last = performance.now()
  return (line) => {
    const now = performance.now()
    if (now - last < PAUSE_MS) return
    last = now
    say(line)
  }
}
