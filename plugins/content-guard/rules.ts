/** Something that must not be shown. */
export interface Rule {
  /** Stands in the place of what was found: `[email]`. */
  readonly name: string
  /** What to look for; flags but `i` and `u` are ignored. */
  readonly pattern: RegExp
  /** Default `[<name>]`. */
  readonly replacement?: string
  /** Says of something found whether it is meant; all of it by default. */
  readonly accept?: (found: string) => boolean
}

/** The rules that are here, by name; bounded, so that no text can make them slow. */
export const RULES = {
  email: { name: 'email', pattern: /[\p{L}\d._%+-]{1,64}@(?:[\p{L}\d-]{1,63}\.){1,8}\p{L}{2,63}/u },
  creditCard: { name: 'credit card', pattern: /(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)/, accept: isCardNumber },
  iban: { name: 'IBAN', pattern: /\b[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b/, accept: isIban },
  secretKey: {
    name: 'secret key',
    pattern: /\b(?:sk-[\w-]{16,}|AKIA[A-Z\d]{16}|gh[pousr]_\w{36,}|xox[abpr]-[\w-]{10,}|AIza[\w-]{35})/,
  },
  jwt: { name: 'token', pattern: /(?<![\w-])eyJ[\w-]{1,4096}\.eyJ[\w-]{1,4096}\.[\w-]+/ },
} as const satisfies Record<string, Rule>

export type RuleName = keyof typeof RULES

/** All that was found is replaced; answers the text, and how often by rule. */
export function redact(text: string, rules: readonly CompiledRule[], count: (rule: string) => void): string {
  return rules.reduce(
    (redacted, { name, pattern, replacement, accept }) =>
      redacted.replace(pattern, (found) => {
        if (accept !== undefined && !accept(found)) return found
        count(name)
        return replacement
      }),
    text,
  )
}

export interface CompiledRule {
  readonly name: string
  readonly pattern: RegExp
  readonly replacement: string
  readonly accept: ((found: string) => boolean) | undefined
}

export function compile({ name, pattern, replacement = `[${name}]`, accept }: Rule): CompiledRule {
  const flags = `g${pattern.ignoreCase ? 'i' : ''}${pattern.unicode ? 'u' : ''}`
  return { name, pattern: new RegExp(pattern.source, flags), replacement, accept }
}

/** The check digit of all payment cards. */
function isCardNumber(found: string): boolean {
  const digits = [...found.replace(/\D/g, '')].reverse().map(Number)
  const sum = digits.reduce((all, digit, index) => {
    const doubled = index % 2 === 1 ? digit * 2 : digit
    return all + (doubled > 9 ? doubled - 9 : doubled)
  }, 0)
  return sum % 10 === 0
}

/** ISO 7064: letters count from 10, the whole is 1 modulo 97. */
function isIban(found: string): boolean {
  const plain = found.replaceAll(' ', '')
  const digits = [...(plain.slice(4) + plain.slice(0, 4))].map((sign) => parseInt(sign, 36)).join('')
  return BigInt(digits) % 97n === 1n
}
