/** Something that must not be shown. */
export interface Rule {
  /** Stands in the place of what was found: `[email]`. */
  readonly name: string
  /** What to look for; flags but `i` and `u` are ignored. */
  readonly pattern: RegExp
  /**
   * What may be the beginning of one that is longer than `longestMatch`: fits a text up to its end, and ends with `$`. It is
   * held back until it is decided; of more than 8,192 characters the word is replaced as if it were one.
   */
  readonly beginning?: RegExp | undefined
  /** Default `[<name>]`. */
  readonly replacement?: string | undefined
  /**
   * Says of something found whether it is meant; all of it by default. Of what is not, parts are tried that leave out
   * groups, between spaces and dashes, at the ends.
   */
  readonly accept?: ((found: string) => boolean) | undefined
}

/** The rules that are here, by name; written so that no text can make them slow. */
export const RULES = {
  email: { name: 'email', pattern: /[\p{L}\d._%+-]{1,64}@(?:[\p{L}\d-]{1,63}\.){1,8}\p{L}{2,63}/u },
  // Before the card, whose weaker check digit may be right for a part of an account number.
  iban: { name: 'IBAN', pattern: /\b[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b/, accept: isIban },
  creditCard: { name: 'credit card', pattern: /(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)/, accept: isCardNumber },
  secretKey: {
    name: 'secret key',
    pattern: /\b(?:sk-[\w-]{16,}|AKIA[A-Z\d]{16}|gh[pousr]_\w{36,}|xox[abpr]-[\w-]{10,}|AIza[\w-]{35})/,
  },
  jwt: {
    name: 'token',
    pattern: /(?<![\w-])eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+/,
    beginning: /(?<![\w-])eyJ[\w-]*(?:\.(?:e(?:y(?:J[\w-]*(?:\.[\w-]*)?)?)?)?)?$/,
  },
} as const satisfies Record<string, Rule>

export type RuleName = keyof typeof RULES

/** All that was found is replaced, and counted by rule. */
export function redact(text: string, rules: readonly CompiledRule[], count: (rule: string) => void): string {
  return rules.reduce((redacted, rule) => {
    let shown = ''
    let rest = 0
    for (const { start, end, isMeant } of search(redacted, rule)) {
      if (!isMeant) continue
      count(rule.name)
      shown += redacted.slice(rest, start) + rule.replacement
      rest = end
    }
    return shown + redacted.slice(rest)
  }, text)
}

/** Where the pattern of a rule fits, and whether the rule means it. */
export interface Find {
  readonly start: number
  readonly end: number
  readonly isMeant: boolean
}

/**
 * All finds, in order of their starts. One that is not meant may reach into the next one, which begins at its second group
 * or later.
 */
export function* search(text: string, rule: CompiledRule): Generator<Find> {
  const pattern = new RegExp(rule.pattern)
  let refused: Groups | undefined
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    const { 0: found, index } = match
    const groups = groupsOf(text, index, index + found.length)
    const meant = found === '' ? undefined : meantIn(text, rule, groups, refused)
    if (meant !== undefined) {
      yield { ...meant, isMeant: true }
      pattern.lastIndex = meant.end
    } else {
      yield { start: index, end: groups.end, isMeant: false }
      pattern.lastIndex = Math.max(index + 1, isMark(text, index) ? index : (groups.ends[0] ?? groups.end))
      refused = groups
    }
  }
}

/** What is found, and what of it stands between spaces and dashes. */
interface Groups {
  readonly start: number
  readonly end: number
  readonly starts: readonly number[]
  readonly ends: readonly number[]
}

function groupsOf(text: string, start: number, end: number): Groups {
  const starts: number[] = []
  const ends: number[] = []
  for (let at = start; at < end; at += 1) {
    if (isMark(text, at)) continue
    if (at === start || isMark(text, at - 1)) starts.push(at)
    if (at + 1 === end || isMark(text, at + 1)) ends.push(at + 1)
  }
  return { start, end, starts, ends }
}

/** As many as may follow the shortest account number in a find. */
const MOST_LEFT_OUT = 5

/**
 * The longest part of what was found that the rule means: a pattern takes a number behind a card's for more of the card.
 * What was tried in vain in the find before, which may reach far into this one, is not tried again.
 */
function meantIn(
  text: string,
  { whole, accept }: CompiledRule,
  { start, end, starts, ends }: Groups,
  refused: Groups | undefined,
): { start: number; end: number } | undefined {
  if (accept === undefined || accept(text.slice(start, end))) return { start, end }
  const least = Math.max(1, starts.length - MOST_LEFT_OUT)
  for (let size = starts.length - 1; size >= least; size -= 1) {
    for (let first = 0; first + size <= starts.length; first += 1) {
      const part = { start: starts[first] as number, end: ends[first + size - 1] as number }
      if (refused !== undefined && wasTried(text, part, size, refused)) continue
      const shown = text.slice(part.start, part.end)
      if (whole.test(shown) && accept(shown)) return part
    }
  }
  return undefined
}

/** True if a part of so many groups is one of those of a find in which none is meant. */
function wasTried(text: string, part: { start: number; end: number }, size: number, refused: Groups): boolean {
  if (part.start <= refused.start || part.end > refused.end || size < refused.starts.length - MOST_LEFT_OUT)
    return false
  return isMark(text, part.start - 1) && (part.end === refused.end || isMark(text, part.end))
}

/** A space or a dash. */
function isMark(text: string, at: number): boolean {
  const sign = text.charCodeAt(at)
  return sign === 32 || sign === 45
}

export interface CompiledRule {
  readonly name: string
  readonly pattern: RegExp
  /** The same for a text that is nothing else. */
  readonly whole: RegExp
  readonly beginning: RegExp | undefined
  readonly replacement: string
  readonly accept: ((found: string) => boolean) | undefined
}

export function compile({ name, pattern, beginning, replacement = `[${name}]`, accept }: Rule): CompiledRule {
  const flags = `${pattern.ignoreCase ? 'i' : ''}${pattern.unicode ? 'u' : ''}`
  const whole = new RegExp(`^(?:${pattern.source})$`, flags)
  return {
    name,
    pattern: new RegExp(pattern.source, `g${flags}`),
    whole,
    beginning: beginning && new RegExp(beginning.source, flags),
    replacement,
    accept,
  }
}

/** The check digit of all payment cards. */
function isCardNumber(found: string): boolean {
  let sum = 0
  let isSecond = false
  for (let index = found.length - 1; index >= 0; index -= 1) {
    const digit = found.charCodeAt(index) - 48
    if (digit < 0 || digit > 9) continue
    const counted = isSecond ? digit * 2 : digit
    sum += counted > 9 ? counted - 9 : counted
    isSecond = !isSecond
  }
  return sum % 10 === 0
}

/** ISO 7064: letters count from 10, the whole, its first four signs standing last, is 1 modulo 97. */
function isIban(found: string): boolean {
  const plain = found.replaceAll(' ', '')
  let rest = 0
  for (let index = 0; index < plain.length; index += 1) {
    const sign = plain.charCodeAt((index + 4) % plain.length)
    rest = sign < 58 ? (rest * 10 + sign - 48) % 97 : (rest * 100 + sign - 55) % 97
  }
  return rest === 1
}
