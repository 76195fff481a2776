-- surrender: lets go of entries that a consumer has and nobody runs any more: their lease counts as run out at once.
-- include let-go
-- KEYS  1: control stream
-- ARGV  1: group, 2: consumer, 3: most entries; then ids (none: all that the consumer has)
-- Answers how many were let go.
-- Entries that are named are handed over by a living worker, which does not count as a delivery without an outcome. The
-- count stays at one at least: an entry that was delivered before may be bound to its record.
local wanted = #ARGV > 3 and {} or nil
for i = 4, #ARGV do wanted[ARGV[i]] = true end
local all = {}
local released = 0
for _, entry in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[3], ARGV[2])) do
  if not wanted then
    all[#all + 1] = entry[1]
  elseif wanted[entry[1]] then
    released = released + let_go(KEYS[1], ARGV[1], ARGV[2], entry[1], math.max(entry[4] - 1, 1))
  end
end
-- Lua's stack ends at some 8,000 values.
for from = 1, #all, 1000 do
  local part = { unpack(all, from, math.min(from + 999, #all)) }
  part[#part + 1] = 'IDLE'
  part[#part + 1] = LET_GO_IDLE
  part[#part + 1] = 'JUSTID'
  released = released + #redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(part))
end
return released
