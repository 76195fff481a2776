import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { textOf } from './sources.ts'

/** A file of tests that a page names, and the titles of those that follow its name. */
interface Claim {
  readonly path: string
  readonly titles: readonly string[]
}

/** A page that says which test covers what. */
export class ClaimingPage {
  readonly text: string

  constructor(path: string) {
    this.text = textOf(path)
  }

  /** The rows of the numbered table. */
  get rows(): string[] {
    return this.text.split('\n').filter((line) => /^\| \d+ \|/.test(line))
  }

  get claims(): Claim[] {
    return [...this.text.matchAll(/`(test\/[\w./-]+\.ts)`((?:,? "[^"]+")*)/g)].map(([, path = '', titles = '']) => ({
      path,
      titles: [...titles.matchAll(/"([^"]+)"/g)].map(([, title = '']) => title),
    }))
  }

  /** The files that are named and do not exist. */
  get missingFiles(): string[] {
    return [...new Set(this.claims.map(({ path }) => path))].filter((path) => !exists(path))
  }

  /** The titles that no test of their file bears. */
  get missingTitles(): string[] {
    return this.claims
      .filter(({ path }) => exists(path))
      .flatMap(({ path, titles }) => {
        const text = textOf(path)
        return titles.filter((title) => !text.includes(`'${title}'`)).map((title) => `${path}: ${title}`)
      })
  }

  /** Places on the page to which it leads, and which are not there. */
  get missingPlaces(): string[] {
    const places = [...this.text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
      title.toLowerCase().replaceAll(' ', '-'),
    )
    const wanted = [...this.text.matchAll(/\]\(#([^)]+)\)/g)].map(([, place = '']) => place)
    return wanted.filter((place) => !places.includes(place))
  }
}

function exists(path: string): boolean {
  return existsSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)))
}
