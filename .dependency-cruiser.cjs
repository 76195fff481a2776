/**
 * The import rules of the house: a file imports from its own room and from lower levels only, types included.
 *
 *  8   cli/                          index.ts   testing/
 *  7                                 worker/
 *  6   gateway/                      execution/
 *  5   client/                       context/
 *  4        dispatch/     audit/     history/     plugins/
 *  3   store/                        agent/
 *  2   redis/                        protocol/
 *  1        errors.ts   logger.ts   service.ts   util/
 *
 * A new folder in src needs a level here before its first import.
 */
const levels = [
  ['errors.ts', 'logger.ts', 'service.ts', 'util/'],
  ['redis/', 'protocol/'],
  ['store/', 'agent/'],
  ['dispatch/', 'audit/', 'history/', 'plugins/'],
  ['client/', 'context/'],
  ['gateway/', 'execution/'],
  ['worker/'],
  ['cli/', 'index.ts', 'testing/'],
]

const leftWing = ['client/', 'gateway/']
const rightWing = ['context/', 'execution/', 'worker/']

/** Rooms which may import each other on one level: the ground, and `byclaw-worker --dev`, which starts a Redis. */
const neighbours = [['cli/', 'testing/']]

/** Which files may import a package that not everybody needs. */
const vendors = {
  ioredis: ['redis/'],
  pino: ['logger.ts', 'cli/'],
  'pino-pretty': ['cli/'],
  commander: ['cli/'],
  tsx: ['cli/'],
  chokidar: ['plugins/', 'cli/'],
  esbuild: ['plugins/'],
  pg: ['history/postgres'],
  testcontainers: ['testing/servers/container.ts'],
}

const literally = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
/** A pattern for files in src whose path below src begins with one of the given names. */
const inside = (names) =>
  `^src/(${names.map((name) => (name.endsWith('.ts') ? `${literally(name)}$` : literally(name))).join('|')})`
const forbid = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to })

const levelRules = levels.flatMap((rooms, index) => {
  const above = levels.slice(index + 1).flat()
  const down = forbid(
    `level-${index + 1}-imports-down`,
    `${rooms.join(' ')} may not import from a higher level, not even a type.`,
    { path: inside(rooms) },
    { path: inside(above) },
  )
  const apart = rooms.map((room) => {
    const others = rooms.filter((other) => other !== room && !neighbours.some(([a, b]) => a === room && b === other))
    return forbid(
      `${room.replace(/\W+$/, '')}-keeps-to-itself`,
      `${room} may not import its neighbours on the same level.`,
      { path: inside([room]) },
      { path: inside(others) },
    )
  })
  return [...(above.length > 0 ? [down] : []), ...(index > 0 && rooms.length > 1 ? apart : [])]
})

const vendorRules = Object.entries(vendors).map(([vendor, homes]) =>
  forbid(
    `only-at-home-${vendor}`,
    `Only ${homes.join(', ')} may import ${vendor}.`,
    { path: '^src/', pathNot: inside(homes) },
    { path: `(^|/)node_modules/${vendor}/` },
  ),
)

module.exports = {
  forbidden: [
    forbid('no-circles', 'Imports form no circle, types included.', {}, { circular: true }),
    forbid('no-unresolvable', 'Every import must lead somewhere.', { path: '^src/' }, { couldNotResolve: true }),
    forbid(
      'every-room-has-a-level',
      'A new file or folder directly in src needs its level in .dependency-cruiser.cjs.',
      { path: '^src/', pathNot: inside(levels.flat()) },
      {},
    ),
    forbid(
      'no-folder-imports',
      'Inside src import files, not folders: an index file is a face for users, not a corridor.',
      { path: '^src/' },
      { path: '^src/(.*/|)index\\.ts$' },
    ),
    forbid(
      'inside-src-only',
      'src may not import from tests, examples, scripts or the built package.',
      { path: '^src/' },
      { path: '^(test|examples|bench|scripts|dist)/' },
    ),
    forbid(
      'declared-packages-only',
      'A package must stand in package.json, an optional one as a peer; a development dependency may be imported by its own home only.',
      { path: '^src/', pathNot: inside(vendors.testcontainers) },
      { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'npm-dev'], dependencyTypesNot: ['type-only', 'npm-peer'] },
    ),
    forbid(
      'agent-does-not-know-redis',
      'The contract floor stands on the wire, never on the database.',
      { path: inside(['agent/']) },
      { path: inside(['redis/']) },
    ),
    forbid(
      'left-wing-does-not-import-right',
      'Those who ask do not import those who answer.',
      { path: inside(leftWing) },
      { path: inside(rightWing) },
    ),
    forbid(
      'right-wing-does-not-import-left',
      'Those who answer do not import those who ask.',
      { path: inside(rightWing) },
      { path: inside(leftWing) },
    ),
    ...levelRules,
    ...vendorRules,
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '\\.generated\\.ts$' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.json', '.d.ts'],
    },
  },
}
