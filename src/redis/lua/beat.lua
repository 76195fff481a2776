-- beat: a sign of life of a worker.
-- include clock
-- KEYS  1: worker hash
-- ARGV  1: incarnation, 2: TTL (ms); then fields and values
-- Answers the time of the beat, or '' if another incarnation holds the id. A hash that vanished (a flushed or restarted
-- server) is made again: the caller then gives all fields.
local holder = redis.call('HGET', KEYS[1], 'incarnation')
if holder and holder ~= ARGV[1] then return '' end
local now = clock()
redis.call('HSET', KEYS[1], 'incarnation', ARGV[1], 'last_seen_at', now, unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return now
