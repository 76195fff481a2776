-- alive: the members of an index of workers whose last heartbeat is younger than the given age, by Redis' own clock.
-- KEYS  1: sorted set by last heartbeat
-- ARGV  1: greatest age (ms)
-- Members that are older are removed.
local time = redis.call('TIME')
local oldest = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. oldest)
return redis.call('ZRANGE', KEYS[1], 0, -1)
