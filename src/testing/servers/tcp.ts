import { connect } from 'node:net'

/** Whether somebody takes a TCP connection there within the time. */
export async function canConnect(host: string, port: number, timeoutMs: number): Promise<boolean> {
  return (await exchange({ host, port, send: '', isComplete: () => true, timeoutMs })) !== undefined
}

/** One question and its answer over a connection of its own. */
export interface Exchange {
  readonly host: string
  readonly port: number
  readonly send: string
  readonly isComplete: (received: string) => boolean
  readonly timeoutMs: number
}

/** Sends a text and collects the answer until it is complete; undefined if that does not come to pass in time. */
export function exchange({ host, port, send, isComplete, timeoutMs }: Exchange): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    let received = ''
    const settle = (answer: string | undefined) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(answer)
    }
    const timer = setTimeout(() => settle(undefined), timeoutMs)
    const check = () => isComplete(received) && settle(received)
    socket.setEncoding('utf8')
    socket.once('connect', () => {
      socket.write(send)
      check()
    })
    socket.on('data', (text: string) => {
      received += text
      check()
    })
    socket.once('error', () => settle(undefined))
    socket.once('close', () => settle(undefined))
  })
}
