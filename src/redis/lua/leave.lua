-- leave: removes a worker's hash, if it is still this incarnation's.
-- KEYS  1: worker hash
-- ARGV  1: incarnation
-- Answers 1 if it was removed.
if redis.call('HGET', KEYS[1], 'incarnation') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
