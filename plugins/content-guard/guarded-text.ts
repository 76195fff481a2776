import type { ResolvedGuardOptions } from './options.ts'
import { type CompiledRule, redact, search } from './rules.ts'

/** Longest beginning of something that is held back until it is whole. */
const MOST_HELD = 8_192

/**
 * The text of one attempt on its way through the guard. Chunks are cut anywhere, so the end of what has come is held back
 * while it may be the beginning of something that must not be shown: the last word, the groups of digits and capitals
 * before it, and the beginning of something long, such as a token. Of one that grows too long the word is replaced, and what
 * comes of it is left out.
 */
export class GuardedText {
  readonly #options: ResolvedGuardOptions
  readonly #count: (rule: string) => void
  #held = ''
  #said = 0
  #isCut = false
  /** A word was replaced before its end had come. */
  #isInReplaced = false

  constructor(options: ResolvedGuardOptions, count: (rule: string) => void) {
    this.#options = options
    this.#count = count
  }

  /** What of the text can be shown now; '' if nothing. */
  take(text: string): string {
    const all = this.#held + this.#behindReplaced(text)
    const begun = this.#beginningIn(all)
    if (begun !== undefined && all.length - begun.at > MOST_HELD) {
      this.#held = ''
      this.#isInReplaced = true
      this.#count(begun.rule.name)
      return this.#say(this.#clean(all.slice(0, begun.at)) + begun.rule.replacement)
    }
    const end = this.#safeEnd(all, begun?.at ?? all.length)
    this.#held = all.slice(end)
    return this.#say(this.#clean(all.slice(0, end)))
  }

  /** All that is held back. */
  flush(): string {
    const rest = this.#held
    this.#held = ''
    this.#isInReplaced = false
    return this.#say(this.#clean(rest))
  }

  /** The text without what belongs to a word that was replaced. */
  #behindReplaced(text: string): string {
    if (!this.#isInReplaced) return text
    const end = text.search(/\s/)
    if (end === -1) return ''
    this.#isInReplaced = false
    return text.slice(end)
  }

  /** Where something begins at the text's end that is not whole; the first, if there are several. */
  #beginningIn(text: string): { readonly at: number; readonly rule: CompiledRule } | undefined {
    let first: { at: number; rule: CompiledRule } | undefined
    for (const rule of this.#options.rules) {
      const at = rule.beginning === undefined ? -1 : text.search(rule.beginning)
      if (at !== -1 && at < (first?.at ?? text.length)) first = { at, rule }
    }
    return first
  }

  /** Where the part ends, at most at `most`, in which nothing can begin that goes on in the next chunk. */
  #safeEnd(text: string, most: number): number {
    let end = Math.min(most, tailStart(text, Math.max(0, text.length - this.#options.longestMatch)))
    if (end === 0) return end
    for (const rule of this.#options.rules) {
      for (const find of search(text, rule)) {
        if (find.start >= end) break
        if (find.end > end) end = find.start
      }
    }
    return beforePair(text, end)
  }

  #clean(text: string): string {
    return redact(text, this.#options.rules, this.#count)
  }

  #say(clean: string): string {
    if (this.#isCut || clean === '') return ''
    const { maxTextLength, cutMark } = this.#options
    const room = maxTextLength - this.#said
    this.#said += clean.length
    if (clean.length <= room) return clean
    this.#isCut = true
    return clean.slice(0, beforePair(clean, room)) + cutMark
  }
}

/** The place itself, or the one before a character of two units that it would cut in halves. */
function beforePair(text: string, place: number): number {
  const isInPair = /^[\uD800-\uDBFF][\uDC00-\uDFFF]/.test(text.slice(Math.max(0, place - 1), place + 1))
  return isInPair ? place - 1 : place
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
