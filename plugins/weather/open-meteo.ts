import { describeCode } from './weather-codes.ts'

export interface OpenMeteoOptions {
  readonly geocodingUrl: string
  readonly forecastUrl: string
  readonly units: 'metric' | 'imperial'
  readonly language: string
  readonly timeoutMs: number
  readonly cacheMs: number
}

export interface Place {
  readonly name: string
  readonly country: string
  readonly latitude: number
  readonly longitude: number
}

export interface CurrentWeather {
  readonly place: string
  readonly time: string
  readonly description: string
  readonly temperature: number
  readonly feelsLike: number
  readonly humidity: number
  readonly windSpeed: number
  readonly units: { readonly temperature: string; readonly windSpeed: string }
}

export interface DayForecast {
  readonly date: string
  readonly description: string
  readonly high: number
  readonly low: number
  readonly precipitation: number
}

const CURRENT = ['temperature_2m', 'relative_humidity_2m', 'apparent_temperature', 'weather_code', 'wind_speed_10m']
const DAILY = ['weather_code', 'temperature_2m_max', 'temperature_2m_min', 'precipitation_sum']
const MOST_CACHED = 1_000

interface Answer {
  readonly results?: readonly Record<string, unknown>[]
  readonly current?: Record<string, unknown>
  readonly daily?: Record<string, readonly unknown[]>
}

/** Open-Meteo (open-meteo.com): a place by its name, and its weather. Answers are kept for a while. */
export class OpenMeteo {
  readonly #options: OpenMeteoOptions
  readonly #cache = new Map<string, { readonly answer: Answer; readonly until: number }>()

  constructor(options: OpenMeteoOptions) {
    this.#options = options
  }

  /** @throws Error when no such place is known. */
  async find(city: string, signal: AbortSignal): Promise<Place> {
    const { geocodingUrl, language } = this.#options
    const { results = [] } = await this.#get(geocodingUrl, { name: city, count: '1', language, format: 'json' }, signal)
    const [found] = results
    if (found === undefined) throw new Error(`there is no place called '${city}'`)
    const { name, country, latitude, longitude } = found
    return {
      name: String(name),
      country: String(country ?? ''),
      latitude: Number(latitude),
      longitude: Number(longitude),
    }
  }

  async current(city: string, signal: AbortSignal): Promise<CurrentWeather> {
    const place = await this.find(city, signal)
    const { current = {} } = await this.#forecast(place, { current: CURRENT.join(',') }, signal)
    const [temperature, humidity, feelsLike, code, windSpeed] = CURRENT.map((name) => Number(current[name]))
    const isMetric = this.#options.units === 'metric'
    return {
      place: [place.name, place.country].filter(Boolean).join(', '),
      time: String(current['time']),
      description: describeCode(code ?? Number.NaN),
      ...{
        temperature: temperature ?? 0,
        feelsLike: feelsLike ?? 0,
        humidity: humidity ?? 0,
        windSpeed: windSpeed ?? 0,
      },
      units: isMetric ? { temperature: '°C', windSpeed: 'km/h' } : { temperature: '°F', windSpeed: 'mph' },
    }
  }

  async daily(city: string, days: number, signal: AbortSignal): Promise<{ place: string; days: DayForecast[] }> {
    const place = await this.find(city, signal)
    const { daily = {} } = await this.#forecast(place, { daily: DAILY.join(','), forecast_days: String(days) }, signal)
    const at = (name: string, index: number) => Number(daily[name]?.[index])
    return {
      place: [place.name, place.country].filter(Boolean).join(', '),
      days: (daily['time'] ?? []).map((date, index) => ({
        date: String(date),
        description: describeCode(at('weather_code', index)),
        high: at('temperature_2m_max', index),
        low: at('temperature_2m_min', index),
        precipitation: at('precipitation_sum', index),
      })),
    }
  }

  /** Forgets all answers. */
  clear(): void {
    this.#cache.clear()
  }

  #forecast({ latitude, longitude }: Place, wanted: Record<string, string>, signal: AbortSignal): Promise<Answer> {
    const imperial = { temperature_unit: 'fahrenheit', wind_speed_unit: 'mph', precipitation_unit: 'inch' }
    const units = this.#options.units === 'imperial' ? imperial : {}
    const where = { latitude: String(latitude), longitude: String(longitude), timezone: 'auto' }
    return this.#get(this.#options.forecastUrl, { ...where, ...wanted, ...units }, signal)
  }

  async #get(base: string, query: Record<string, string>, signal: AbortSignal): Promise<Answer> {
    const url = `${base}?${new URLSearchParams(query)}`
    const kept = this.#cache.get(url)
    if (kept !== undefined && kept.until > Date.now()) return kept.answer
    const answer = await this.#fetch(url, signal)
    this.#cache.delete(url)
    this.#cache.set(url, { answer, until: Date.now() + this.#options.cacheMs })
    const [oldest] = this.#cache.keys()
    if (this.#cache.size > MOST_CACHED && oldest !== undefined) this.#cache.delete(oldest)
    return answer
  }

  async #fetch(url: string, signal: AbortSignal): Promise<Answer> {
    const { timeoutMs } = this.#options
    const limited = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    const { host } = new URL(url)
    let response: Response
    let text: string
    try {
      response = await fetch(url, { signal: limited, headers: { accept: 'application/json' } })
      text = await response.text() // which may hang, or break off, as the request may
    } catch (cause) {
      signal.throwIfAborted()
      const reason = limited.aborted ? `no answer within ${timeoutMs} ms` : 'it cannot be reached'
      throw new Error(`the weather service ${host} failed: ${reason}`, { cause })
    }
    const body = toAnswer(text)
    if (response.ok && body !== undefined) return body
    const reason = response.ok ? 'its answer is no JSON' : `${response.status} ${body?.reason ?? response.statusText}`
    throw new Error(`the weather service ${host} failed: ${reason}`)
  }
}

function toAnswer(text: string): (Answer & { readonly reason?: unknown }) | undefined {
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === 'object' && body !== null ? body : undefined
  } catch {
    return undefined
  }
}
