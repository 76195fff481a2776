-- retire: gives the record of a task that was ended from outside its time to live, now that its entry is seen off.
-- KEYS  1: record
-- ARGV  1: the fence it ended with
-- Answers 1, or 0 if there was nothing to do.
local held = redis.call('HMGET', KEYS[1], 'fence', 'keep_ms')
if held[1] ~= ARGV[1] or not held[2] then return 0 end
redis.call('PEXPIRE', KEYS[1], held[2])
return redis.call('HDEL', KEYS[1], 'keep_ms')
