-- settle: acks and deletes entries, both or neither: an acked entry that stayed would fill the stream, a deleted one
-- that stayed pending would be claimed for ever.
-- KEYS  control streams
-- ARGV  1: group; then per stream: number of ids, ids
local at = 2
for i = 1, #KEYS do
  local n = tonumber(ARGV[at])
  -- Acks that could not be sent for a while may be more than fit on Lua's stack.
  for from = at + 1, at + n, 1000 do
    local upto = math.min(from + 999, at + n)
    redis.call('XACK', KEYS[i], ARGV[1], unpack(ARGV, from, upto))
    redis.call('XDEL', KEYS[i], unpack(ARGV, from, upto))
  end
  at = at + n + 1
end
