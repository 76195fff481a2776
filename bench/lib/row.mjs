const NAMELESS = [{ id: '', title: '' }]

/** The rows of one case: every contender in each of its variants for that scenario; a quick run leaves out those marked `full`. */
export const rowsOf = (contenders, scenarioId, parameters, { quick = false } = {}) =>
  contenders.flatMap((contender) =>
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

/** What may cross to a child process of a row. */
export const remoteOf = ({ contender, variant }, port) => ({ contender: contender.id, variant, port })
