-- unlist: takes workers off an index, unless they have given a sign of life since.
-- KEYS  1: index (zset)
-- ARGV  per worker: id, time of the last sign that is known of (ms)
-- Answers how many were taken off.
local removed = 0
for i = 1, #ARGV, 2 do
  local seen = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if seen and tonumber(seen) <= tonumber(ARGV[i + 1]) then removed = removed + redis.call('ZREM', KEYS[1], ARGV[i]) end
end
return removed
