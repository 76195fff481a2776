-- remove-consumers: removes consumers that own nothing and have been silent for long.
-- KEYS  1: control stream
-- ARGV  1: group, 2: least idle time (ms), 3: a consumer to remove whatever its idle time, or ''
-- Answers how many were removed. Looking and removing is one act: deleting a consumer drops what it has pending.
local removed = 0
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #flat, 2 do consumer[flat[i]] = flat[i + 1] end
  if consumer.pending == 0 and (consumer.idle > tonumber(ARGV[2]) or consumer.name == ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    removed = removed + 1
  end
end
return removed
