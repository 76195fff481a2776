/**
 * Makes `instanceof` hold across two copies of this package in one process (a plugin with its own `node_modules`,
 * a worker file bundled apart): the check looks for a registered symbol on the prototype chain, not for identity. The
 * class keeps its name, too, where a bundler gave it another one.
 *
 * @param name - Name of the class, and of the brand: the same in every copy.
 */
// biome-ignore lint/suspicious/noExplicitAny: a constructor's parameters are irrelevant to its brand
export function brand(target: abstract new (...args: any[]) => object, name: string): void {
  const symbol = Symbol.for(`byclaw-gateway-sdk/${name}`)
  Object.defineProperty(target, 'name', { value: name, configurable: true })
  Object.defineProperty(target.prototype, symbol, { value: true })
  Object.defineProperty(target, Symbol.hasInstance, {
    value(this: { prototype: object }, candidate: unknown): boolean {
      // Subclasses inherit this check; for them identity is what is meant.
      if (this !== (target as unknown)) return hasPrototype(this.prototype, candidate)
      return typeof candidate === 'object' && candidate !== null && symbol in candidate
    },
  })
}

function hasPrototype(prototype: object, candidate: unknown): boolean {
  return (
    typeof candidate === 'object' && candidate !== null && Object.prototype.isPrototypeOf.call(prototype, candidate)
  )
}
