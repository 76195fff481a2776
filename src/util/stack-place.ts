import { fileURLToPath } from 'node:url'

/** Where an error was thrown, as `file:line:column`: the first line of its stack that is neither Node's nor a package's. */
export function placeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  for (const line of (error.stack ?? '').split('\n')) {
    const place = /^\s+at (?:async |.* \()?((?:file:\/\/|\/|[A-Z]:\\)[^()]+:\d+:\d+)\)?$/.exec(line)?.[1]
    if (place === undefined || place.includes('/node_modules/')) continue
    return place.startsWith('file://') ? pathOf(place) : place
  }
  return undefined
}

function pathOf(place: string): string {
  const [, url = place, position = ''] = /^(.*?)((?::\d+){0,2})$/.exec(place) ?? []
  return `${fileURLToPath(url.split('?')[0] ?? url)}${position}`
}
