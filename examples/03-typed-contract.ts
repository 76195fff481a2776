// One contract for both sides: types are inferred, and bad input is refused before anything is sent.
import {
  contentOf,
  createLogger,
  defineAgent,
  GatewayClient,
  type GatewayCommand,
  GatewayWorker,
  runWorker,
} from 'byclaw-gateway-sdk'
import { startLocalRedis } from 'byclaw-gateway-sdk/testing'
import { z } from 'zod'

const weather = defineAgent('weather', {
  input: z.object({
    place: z.object({ city: z.string(), country: z.string().length(2) }),
    days: z.number().int().min(1).max(7).default(3),
  }),
  output: z.object({ city: z.string(), highs: z.array(z.number()) }),
})

class WeatherAgent extends GatewayWorker {
  getCapabilities() {
    return [weather]
  }

  async processCommand(command: GatewayCommand) {
    const { place, days } = contentOf(weather, command) // days is a number: the default is filled in
    return { city: place.city, highs: Array.from({ length: days }, (_, day) => 21 + day) }
  }
}

await using redis = await startLocalRedis()
await using _worker = await runWorker({ workerClass: WeatherAgent, redis: redis.url, logger: createLogger('error') })
await using client = new GatewayClient({ redis: redis.url })

const { data } = await client.ask({
  target: weather,
  sessionId: 's-1',
  content: { place: { city: 'Beijing', country: 'CN' } },
})
console.log(`${data.city}: ${data.highs.join(', ')} °C`) // data is { city: string, highs: number[] }

const sent = await client.sendMessage({
  target: weather,
  sessionId: 's-1',
  content: { place: { city: 'Beijing', country: 'China' }, days: 30 },
})
if (!sent.success) console.log(`${sent.status} ${sent.error.code}\n${sent.error.message}`)
