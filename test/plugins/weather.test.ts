import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type WeatherOptions, weatherPlugin } from '../../plugins/weather/index.ts'
import { deferred } from '../../src/util/deferred.ts'
import { House } from '../worker/harness.ts'

const send = { targetAgentType: 'agent', sessionId: 's', content: 'hi' }

const OSLO = {
  id: 3143244,
  name: 'Oslo',
  latitude: 59.91273,
  longitude: 10.74609,
  country: 'Norway',
  timezone: 'Europe/Oslo',
}
const CURRENT = {
  ...{ time: '2026-01-02T03:15', interval: 900, temperature_2m: -3.1, relative_humidity_2m: 86 },
  ...{ apparent_temperature: -7.4, weather_code: 73, wind_speed_10m: 11.2 },
}
const DAILY = {
  time: ['2026-01-02', '2026-01-03'],
  weather_code: [73, 1_000],
  temperature_2m_max: [-1, 2.5],
  temperature_2m_min: [-6, -2],
  precipitation_sum: [4.2, 0],
}

/** A server that answers in the words of Open-Meteo. */
async function serve(handle: (url: URL, request: IncomingMessage, response: ServerResponse) => unknown = answer) {
  const asked: URL[] = []
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://localhost')
    asked.push(url)
    const body = handle(url, request, response)
    if (body !== undefined) response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { asked, options: { geocodingUrl: `${base}/v1/search`, forecastUrl: `${base}/v1/forecast` } }
}

function answer({ pathname, searchParams }: URL): unknown {
  if (pathname === '/v1/search')
    return searchParams.get('name') === 'Oslo' ? { results: [OSLO] } : { generationtime_ms: 1 }
  return searchParams.has('current') ? { current: CURRENT } : { daily: DAILY }
}

/** What a handler with this plugin sees of a tool. */
async function call(options: WeatherOptions, name: string, ...inputs: object[]) {
  const house = new House()
  await house.work(
    async (_command, context) => {
      const results: unknown[] = []
      for (const input of inputs) {
        results.push(await context.callTool(name, input).catch((error: Error) => error.message))
      }
      return results
    },
    { plugins: [weatherPlugin(options)] },
  )
  return (await house.client().ask<unknown[]>(send)).data
}

describe('the tools', () => {
  test('tell the weather now', async () => {
    const { options, asked } = await serve()
    expect(await call(options, 'get_current_weather', { city: 'Oslo' })).toEqual([
      {
        ...{ place: 'Oslo, Norway', time: '2026-01-02T03:15', description: 'snow', temperature: -3.1, feelsLike: -7.4 },
        ...{ humidity: 86, windSpeed: 11.2, units: { temperature: '°C', windSpeed: 'km/h' } },
      },
    ])
    expect(Object.fromEntries(asked[1]?.searchParams ?? [])).toMatchObject({ latitude: '59.91273', timezone: 'auto' })
  })

  test('tell that of the days to come, in other units', async () => {
    const { options, asked } = await serve()
    const days = [
      { date: '2026-01-02', description: 'snow', high: -1, low: -6, precipitation: 4.2 },
      { date: '2026-01-03', description: 'unknown', high: 2.5, low: -2, precipitation: 0 },
    ]
    const found = await call({ ...options, units: 'imperial' }, 'get_weather_forecast', { city: 'Oslo', days: 2 })
    expect(found).toEqual([{ place: 'Oslo, Norway', days }])
    expect(Object.fromEntries(asked[1]?.searchParams ?? [])).toMatchObject({
      ...{ forecast_days: '2', temperature_unit: 'fahrenheit', precipitation_unit: 'inch' },
    })
  })

  test('ask once for what they know, as long as that is good', async () => {
    const { options, asked } = await serve()
    await call(options, 'get_current_weather', { city: 'Oslo' }, { city: 'Oslo' })
    expect(asked).toHaveLength(2)
    await call({ ...options, cacheMs: 0 }, 'get_current_weather', { city: 'Oslo' }, { city: 'Oslo' })
    expect(asked).toHaveLength(6)
  })

  test('say what is wrong', async () => {
    const { options } = await serve()
    const inputs = [{ city: 'Nowhere' }, { city: '' }, { city: 'Oslo', days: 17 }]
    expect(await call(options, 'get_weather_forecast', ...inputs)).toEqual([
      "there is no place called 'Nowhere'",
      expect.stringContaining("input of tool 'get_weather_forecast' is invalid: city: "),
      expect.stringContaining('days: '),
    ])
    const bad = await serve((_url, _request, response) => {
      response.statusCode = 400
      return { error: true, reason: 'Latitude must be in range' }
    })
    expect(await call(bad.options, 'get_current_weather', { city: 'Oslo' })).toEqual([
      expect.stringMatching(/^the weather service 127\.0\.0\.1:\d+ failed: 400 Latitude must be in range$/),
    ])
    const silent = await serve(() => undefined)
    expect(await call({ ...silent.options, timeoutMs: 50 }, 'get_current_weather', { city: 'Oslo' })).toEqual([
      expect.stringContaining('no answer within 50 ms'),
    ])
    const none = { geocodingUrl: 'http://127.0.0.1:1/', forecastUrl: 'http://127.0.0.1:1/' }
    expect(await call(none, 'get_current_weather', { city: 'Oslo' })).toEqual([
      'the weather service 127.0.0.1:1 failed: it cannot be reached',
    ])
    expect(() => weatherPlugin({ units: 'kelvin' as never })).toThrow(/weather: .*units/s)
    expect(() => weatherPlugin({ timeoutMs: 2 ** 31 })).toThrow(/weather: .*timeoutMs/s)
  })

  test('keep no answer that did not come whole, and say what became of it', async () => {
    let isWhole = false
    const { options } = await serve((url, _request, response) => {
      if (isWhole) return answer(url)
      response.setHeader('content-type', 'application/json').write('{ "results":')
      return undefined
    })
    const plugin = weatherPlugin({ ...options, timeoutMs: 200 })
    const house = new House()
    await house.work((_command, context) => context.callTool('get_current_weather', { city: 'Oslo' }), {
      ...{ plugins: [plugin], retry: { maxAttempts: 1 } },
    })
    const client = house.client()
    expect((await client.ask(send)).error?.message).toContain('no answer within 200 ms')
    isWhole = true
    expect((await client.ask(send)).data).toMatchObject({ place: 'Oslo, Norway' })
    const noJson = await serve((_url, _request, response) => void response.end('<html>Sign in</html>'))
    expect(await call(noJson.options, 'get_current_weather', { city: 'Oslo' })).toEqual([
      expect.stringContaining('failed: its answer is no JSON'),
    ])
  })

  test('give up their request when the task is cancelled', async () => {
    const closed = deferred()
    const asked = deferred()
    const { options } = await serve((_url, request) => {
      asked.resolve()
      request.socket.on('close', () => closed.resolve())
      return undefined
    })
    const house = new House()
    await house.work((_command, context) => context.callTool('get_current_weather', { city: 'Oslo' }), {
      plugins: [weatherPlugin({ ...options, timeoutMs: 60_000 })],
    })
    const client = house.client()
    const { messageId } = await client.sendMessage(send)
    await asked.promise
    await client.cancelTask({ sessionId: 's', messageId })
    await closed.promise
    expect((await client.result({ sessionId: 's', messageId })).status).toBe('CANCELLED')
  })
})

test('the prompt has a language, and the tools say what they take', async () => {
  const house = new House()
  await house.work(
    (_command, context) => [
      context.prompt('system_prompt', { vars: { language: 'Norwegian' } }),
      context.describeTools().map(({ name, inputSchema }) => [name, inputSchema['required']]),
    ],
    { plugins: [weatherPlugin()] },
  )
  expect((await house.client().ask(send)).data).toEqual([
    expect.stringContaining('Answer in Norwegian'),
    [
      ['get_current_weather', ['city']],
      ['get_weather_forecast', ['city']],
    ],
  ])
})
