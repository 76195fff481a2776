/** Binds methods to their object, so that they can be taken out of it: `const { stop } = worker`. */
export function makeDetachable<Made extends object>(object: Made, ...names: (keyof Made)[]): void {
  for (const name of names) {
    const method: unknown = object[name]
    // Hidden like the method itself, from whoever prints or compares the object.
    if (typeof method === 'function') Object.defineProperty(object, name, { value: method.bind(object) })
  }
}
