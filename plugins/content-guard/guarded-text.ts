import type { ResolvedGuardOptions } from './options.ts'
import { redact, search } from './rules.ts'

/**
 * The text of one attempt on its way through the guard. Chunks are cut anywhere, so the end of what has come is held back
 * while it may be the beginning of something that must not be shown: the last word, and the groups of digits and capitals
 * before it.
 */
export class GuardedText {
  readonly #options: ResolvedGuardOptions
  readonly #count: (rule: string) => void
  #held = ''
  #said = 0
  #isCut = false

  constructor(options: ResolvedGuardOptions, count: (rule: string) => void) {
    this.#options = options
    this.#count = count
  }

  /** What of the text can be shown now; '' if nothing. */
  take(text: string): string {
    const all = this.#held + text
    const end = this.#safeEnd(all)
    this.#held = all.slice(end)
    return this.#show(all.slice(0, end))
  }

  /** All that is held back. */
  flush(): string {
    const rest = this.#held
    this.#held = ''
    return this.#show(rest)
  }

  /** Where the part ends in which nothing can begin that goes on in the next chunk. */
  #safeEnd(text: string): number {
    let end = tailStart(text, Math.max(0, text.length - this.#options.longestMatch))
    for (const rule of this.#options.rules) {
      for (const find of search(text, rule)) {
        if (find.start < end && find.end > end) end = find.start
      }
    }
    return end
  }

  #show(text: string): string {
    if (this.#isCut || text === '') return ''
    const { rules, maxTextLength, cutMark } = this.#options
    const clean = redact(text, rules, this.#count)
    const room = maxTextLength - this.#said
    this.#said += clean.length
    if (clean.length <= room) return clean
    this.#isCut = true
    return clean.slice(0, room) + cutMark
  }
}

/** Where the last word begins, with the groups of digits and capitals before it; not before `from`. */
function tailStart(text: string, from: number): number {
  let start = text.length
  while (start > from && !isSpace(text[start - 1])) start -= 1
  while (start > from + 1 && text[start - 1] === ' ' && isOfGroup(text[start - 2])) {
    start -= 1
    while (start > from && isOfGroup(text[start - 1])) start -= 1
  }
  return start
}

function isSpace(sign: string | undefined): boolean {
  return sign !== undefined && /\s/.test(sign)
}

function isOfGroup(sign: string | undefined): boolean {
  return sign !== undefined && /[A-Z\d-]/.test(sign)
}
