import { readFile } from 'node:fs/promises'
import { type AgentConfig, Plugin, tool } from 'byclaw-gateway-sdk'
import { z } from 'zod'
import { OpenMeteo } from './open-meteo.ts'

/** Where the weather comes from, and how it is told. */
export interface WeatherOptions {
  /** Default `metric`. */
  readonly units?: 'metric' | 'imperial'
  /** Language of the names of places, as two letters. Default `en`. */
  readonly language?: string
  /** How long the weather service may take, in ms. Default 5,000. */
  readonly timeoutMs?: number
  /** How long an answer is good, in ms. Default 600,000. */
  readonly cacheMs?: number
  /** Whom the prompt belongs to. Default `weather_assistant`. */
  readonly agentId?: string
  /** Default Open-Meteo's. */
  readonly geocodingUrl?: string
  readonly forecastUrl?: string
}

const schema = z.strictObject({
  units: z.enum(['metric', 'imperial']).default('metric'),
  language: z.string().length(2).default('en'),
  // Of a longer time Node's timers make 1 ms.
  timeoutMs: z
    .number()
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .default(5_000),
  cacheMs: z.number().int().min(0).default(600_000),
  agentId: z.string().default('weather_assistant'),
  geocodingUrl: z.url().default('https://geocoding-api.open-meteo.com/v1/search'),
  forecastUrl: z.url().default('https://api.open-meteo.com/v1/forecast'),
})

const city = z.string().min(1).describe('Name of a city or place, such as "Oslo" or "Paris, Texas"')

/** Current weather and forecasts as tools, and a prompt that makes a model use them. */
export class WeatherPlugin extends Plugin {
  readonly manifest = {
    ...{ pluginId: 'weather', version: '0.1.0', name: 'Weather' },
    description: 'Current weather and forecasts from Open-Meteo',
  }
  readonly #options: z.infer<typeof schema>
  readonly #service: OpenMeteo

  constructor(options: WeatherOptions = {}) {
    super()
    const parsed = schema.safeParse(options)
    if (!parsed.success) throw new Error(`weather: ${z.prettifyError(parsed.error)}`)
    this.#options = parsed.data
    this.#service = new OpenMeteo(parsed.data)
  }

  override async registerAgentConfigs(): Promise<AgentConfig[]> {
    const system_prompt = await readFile(new URL('./prompts/system.txt', import.meta.url), 'utf8')
    return [
      { agentId: this.#options.agentId, tools: this.#tools(), prompts: { system_prompt: system_prompt.trimEnd() } },
    ]
  }

  override onUnload(): void {
    this.#service.clear()
  }

  #tools() {
    const service = this.#service
    return {
      get_current_weather: tool({
        description: 'The weather in a place, now',
        input: z.object({ city }),
        execute: (input, { signal }) => service.current(input.city, signal),
      }),
      get_weather_forecast: tool({
        description: 'The weather in a place by day, from today on',
        input: z.object({ city, days: z.number().int().min(1).max(16).default(3) }),
        execute: (input, { signal }) => service.daily(input.city, input.days, signal),
      }),
    }
  }
}

/** Makes the plugin; see the README for what it takes. */
export function weatherPlugin(options: WeatherOptions = {}): WeatherPlugin {
  return new WeatherPlugin(options)
}

export default WeatherPlugin
