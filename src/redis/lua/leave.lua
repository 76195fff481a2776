-- leave: removes a worker's hash, if it is still this incarnation's.
-- KEYS  1: worker hash
-- ARGV  1: incarnation
-- Answers the time of its last sign of life, or '' if there was nothing to remove.
local held = redis.call('HMGET', KEYS[1], 'incarnation', 'last_seen_at')
if held[1] ~= ARGV[1] then return '' end
redis.call('DEL', KEYS[1])
return held[2]
