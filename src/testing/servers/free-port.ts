import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'
import { LocalServerError } from './local-server.ts'

// Below the ranges from which systems take the source ports of outgoing connections. A client that reconnects to a
// stopped server would sooner or later be given the server's own port as its source, connect to itself and block it.
const FIRST_PORT = 16_384
const LAST_PORT = 32_767
const ATTEMPTS = 64

/** A port of 127.0.0.1 on which nobody listens now; another process may still be faster than the caller. */
export async function findFreePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(FIRST_PORT, LAST_PORT + 1)
    if (await canListen(port)) return port
  }
  throw new LocalServerError(`found no free port between ${FIRST_PORT} and ${LAST_PORT} on 127.0.0.1`)
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
