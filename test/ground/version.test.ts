import { expect, test } from 'vitest'
import { VERSION } from '../../src/version.ts'
import { textOf } from './sources.ts'

test('the version in the source is that of the package', () => {
  expect(VERSION).toBe(JSON.parse(textOf('package.json')).version)
  expect(JSON.parse(textOf('package-lock.json')).version).toBe(VERSION)
})
