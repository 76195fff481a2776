-- claim-worker: takes a worker id for one incarnation of a process.
-- include clock
-- KEYS  1: worker hash
-- ARGV  1: incarnation, 2: TTL (ms), 3: incarnation known to be dead ('' if none); then fields and values
-- Answers {1, now} or {0, now, fields and values of the holder}.
local now = clock()
local holder = redis.call('HGET', KEYS[1], 'incarnation')
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then
  return { 0, now, redis.call('HGETALL', KEYS[1]) }
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'incarnation', ARGV[1], 'started_at', now, 'last_seen_at', now, unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { 1, now }
