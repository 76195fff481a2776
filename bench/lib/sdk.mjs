import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

// bench/ is a package of its own, so the self-reference is resolved from the root's package.json.
const { resolve } = createRequire(new URL('../../package.json', import.meta.url))

/** Imports the built SDK (or a sub-path such as `/testing`) through its own `exports` map. */
export const importSdk = (subpath = '') => import(pathToFileURL(resolve(`byclaw-gateway-sdk${subpath}`)))
