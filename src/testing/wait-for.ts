import { setTimeout as sleep } from 'node:timers/promises'
import { MOST_TIMER_MS } from '../util/timer.ts'

/** How long and how often to look. */
export interface WaitForOptions {
  /** Give up after this time. Default 5000. */
  readonly timeoutMs?: number | undefined
  /** Time between two looks. Default 10. */
  readonly intervalMs?: number | undefined
  /** What is waited for, for the error; a function is asked when the time is up, so that it can tell how things stand. */
  readonly message?: (string | (() => string)) | undefined
}

/** What a predicate must answer for the wait to end. */
export type Truthy<T> = Exclude<T, false | 0 | 0n | '' | null | undefined>

const PREDICATE_TEXT = 160

/**
 * Asks again and again until the predicate answers something truthy, and resolves with that. A predicate that throws has not
 * come true yet; its last error becomes the cause of the final one.
 */
export async function waitFor<T>(
  predicate: () => T | PromiseLike<T>,
  { timeoutMs = 5000, intervalMs = 10, message }: WaitForOptions = {},
): Promise<Truthy<T>> {
  const deadline = performance.now() + timeoutMs
  let cause: unknown
  for (;;) {
    const look = await lookOnce(predicate, deadline - performance.now())
    if (look.status === 'value' && isTruthy(look.value)) return look.value
    cause = look.status === 'threw' ? look.error : undefined
    if (performance.now() >= deadline) break
    await sleep(intervalMs)
  }
  const what = typeof message === 'function' ? message() : (message ?? textOf(predicate))
  throw new Error(`waited ${timeoutMs} ms in vain for: ${what}`, cause === undefined ? {} : { cause })
}

type Look<T> =
  | { readonly status: 'value'; readonly value: T }
  | { readonly status: 'threw'; readonly error: unknown }
  | { readonly status: 'hangs' }

/** One look, which may hang no longer than the time that is left. */
async function lookOnce<T>(predicate: () => T | PromiseLike<T>, leftMs: number): Promise<Look<T>> {
  const answer = ask(predicate)
  const giveUp = new AbortController()
  const timeUp = sleep(Math.min(Math.max(0, leftMs), MOST_TIMER_MS), { status: 'hangs' } as const, {
    signal: giveUp.signal,
  }).catch(
    () => ({ status: 'hangs' }) as const, // cut short, because the predicate was faster
  )
  try {
    return await Promise.race([answer, timeUp])
  } finally {
    giveUp.abort()
  }
}

async function ask<T>(predicate: () => T | PromiseLike<T>): Promise<Look<T>> {
  try {
    return { status: 'value', value: await predicate() }
  } catch (error) {
    return { status: 'threw', error }
  }
}

function isTruthy<T>(value: T): value is Truthy<T> {
  return Boolean(value)
}

function textOf(predicate: () => unknown): string {
  const text = predicate.toString().replace(/\s+/g, ' ')
  return text.length > PREDICATE_TEXT ? `${text.slice(0, PREDICATE_TEXT)}…` : text
}
