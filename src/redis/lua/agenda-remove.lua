-- agenda-remove: strikes out what is done or will not be done.
-- KEYS  per item: agenda (zset), its payloads (hash)
-- ARGV  per item: member
-- Answers how many were there.
local removed = 0
for i = 1, #KEYS / 2 do
  removed = removed + redis.call('ZREM', KEYS[2 * i - 1], ARGV[i])
  redis.call('HDEL', KEYS[2 * i], ARGV[i])
end
return removed
