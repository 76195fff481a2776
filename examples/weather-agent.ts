import { setTimeout as sleep } from 'node:timers/promises'
import { type AgentContext, AskAgentCommand, type GatewayCommand, GatewayWorker, tool } from 'byclaw-gateway-sdk'
import { z } from 'zod'

const SKIES = ['sunny', 'cloudy', 'rainy', 'windy']

/** Stands for a weather service: the same city has the same weather whenever you ask. */
const forecast = tool({
  description: 'Weather of a city, tomorrow',
  input: z.object({ city: z.string().min(1) }),
  output: z.object({ city: z.string(), sky: z.string(), high: z.number(), low: z.number() }),
  execute: ({ city }) => {
    const seed = [...city].reduce((sum, letter) => sum + (letter.codePointAt(0) ?? 0), 0)
    return { city, sky: SKIES[seed % SKIES.length] ?? 'sunny', high: 12 + (seed % 17), low: 3 + (seed % 9) }
  },
})

/** Takes a question such as `Weather in Beijing?`, calls its tool, and streams an answer. */
export class WeatherAgent extends GatewayWorker {
  getCapabilities() {
    return ['weather_agent']
  }

  override getTools() {
    return { forecast }
  }

  async processCommand(command: GatewayCommand, context: AgentContext) {
    const question = command instanceof AskAgentCommand ? String(command.content) : ''
    const city = /\bin ([\p{L} -]+)/u.exec(question)?.[1]?.trim() ?? 'Beijing'

    await context.emitState('thinking')
    const weather = await context.callTool('forecast', { city })
    await context.emitData({ tool: 'forecast', input: { city }, output: weather })

    await context.emitState('answering')
    const answer = `Tomorrow ${city} will be ${weather.sky}, with ${weather.low} to ${weather.high} degrees.`
    for (const token of answer.match(/\S+\s*/g) ?? []) {
      await sleep(40, undefined, { signal: context.signal }) // a language model would take its time, too
      await context.emitChunk(token)
    }
    await context.emitArtifact({
      name: 'forecast.json',
      mimeType: 'application/json',
      content: JSON.stringify(weather),
    })
    return weather
  }
}
