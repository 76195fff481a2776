const NAMELESS = [{ id: '', title: '' }]

const takesPart = ({ scenarios }, scenarioId) => scenarios === undefined || scenarios.includes(scenarioId)

/**
 * The rows of one case: every contender that takes part, in each of its variants for that scenario; a quick run leaves out
 * what is marked `full`.
 */
export const rowsOf = (contenders, scenarioId, parameters, { quick = false } = {}) =>
  contenders
    .filter((contender) => takesPart(contender, scenarioId))
    .flatMap((contender) =>
      (contender.variants[scenarioId] ?? NAMELESS)
        .filter(({ full }) => !(quick && full))
        .map((variant) => ({
          id: [contender.id, variant.id].filter(Boolean).join('/'),
          title: [contender.title, variant.title].filter(Boolean).join(', '),
          contender,
          variant,
          ...parameters,
        })),
    )

/** The rows of a scenario that only the SDK itself can run. */
export const ownRows = (contenders, rows) => {
  const contender = contenders.find(({ id }) => id === 'byclaw')
  return contender === undefined ? [] : rows.map((row) => ({ ...row, contender, variant: {} }))
}

/** What may cross to a child process of a row. */
export const remoteOf = ({ contender, variant }, port) => ({ contender: contender.id, variant, port })
