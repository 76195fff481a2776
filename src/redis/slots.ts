import calculateSlot from 'cluster-key-slot'

/** Keys that lie in one slot stand together; on one Redis all do. */
export function slotGroups<Item>(isCluster: boolean, items: readonly Item[], keyOf: (item: Item) => string): Item[][] {
  if (!isCluster) return [[...items]]
  return [...groupBySlot(items, keyOf).values()].map((indexes) => indexes.map((index) => items[index] as Item))
}

/** The places of the items, by the slot of their keys. */
export function groupBySlot<Item>(items: readonly Item[], keyOf: (item: Item) => string): Map<number, number[]> {
  const groups = new Map<number, number[]>()
  items.forEach((item, index) => {
    const slot = calculateSlot(keyOf(item))
    const indexes = groups.get(slot)
    if (indexes === undefined) groups.set(slot, [index])
    else indexes.push(index)
  })
  return groups
}
