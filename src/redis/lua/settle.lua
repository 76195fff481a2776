-- settle: acks and deletes entries, both or neither: an acked entry that stayed would fill the stream, a deleted one
-- that stayed pending would be claimed for ever.
-- KEYS  control streams
-- ARGV  1: group; then per stream: number of ids, ids
local at = 2
for i = 1, #KEYS do
  local n = tonumber(ARGV[at])
  redis.call('XACK', KEYS[i], ARGV[1], unpack(ARGV, at + 1, at + n))
  redis.call('XDEL', KEYS[i], unpack(ARGV, at + 1, at + n))
  at = at + n + 1
end
