import { GatewayError } from '../errors.ts'

/** A key of another kind than it should be, which may be anybody's doing. Behind `: -` before Redis 7. */
const WRONG_KIND = /\bWRONGTYPE /

/** True for what a server answers about such a key. */
export function isWrongKind(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError' && WRONG_KIND.test(error.message)
}

/** True for a fault that lies with one item of a batch, and that the others do not have. */
export function isOfOneItem(error: unknown): boolean {
  return isWrongKind(error instanceof GatewayError ? error.cause : error)
}

/**
 * Runs items together; where one of them breaks the call for all, once more each by itself, so that only that one answers
 * its error. What was carried out of the first call has to bear being carried out twice.
 */
export async function runApart<Item, Result>(
  items: readonly Item[],
  run: (items: readonly Item[]) => Promise<readonly Result[]>,
): Promise<(Result | Error)[]> {
  try {
    return [...(await run(items))]
  } catch (error) {
    if (items.length < 2 || !isOfOneItem(error)) throw error
    const each = await Promise.allSettled(items.map((item) => run([item])))
    return each.map((one) => (one.status === 'fulfilled' ? (one.value[0] as Result) : (one.reason as Error)))
  }
}
