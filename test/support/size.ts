/** How much a test by force does: all of it with `npm run test:long`, which `.ci/run` calls besides, else enough to see a fault of every day. */
export function sized<Size>({ short, long }: { readonly short: Size; readonly long: Size }): Size {
  return process.env.MODE === 'long' ? long : short
}
