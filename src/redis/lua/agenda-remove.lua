-- agenda-remove: strikes out what is done or will not be done.
-- KEYS  1: agenda (zset), 2: its payloads (hash)
-- ARGV  members
-- Answers how many were there.
local removed = 0
for from = 1, #ARGV, 1000 do
  local upto = math.min(from + 999, #ARGV)
  removed = removed + redis.call('ZREM', KEYS[1], unpack(ARGV, from, upto))
  redis.call('HDEL', KEYS[2], unpack(ARGV, from, upto))
end
return removed
