-- journal-drop: forgets all operations of a task, so that it starts afresh.
-- KEYS  1: record, 2: journal, 3: blobs
-- ARGV  1: fence
-- Answers how often that was done with this task, this time included, or -1 if the fence does not hold.
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return -1 end
redis.call('UNLINK', KEYS[2], KEYS[3])
redis.call('HDEL', KEYS[1], 'sum')
return redis.call('HINCRBY', KEYS[1], 'restarts', 1)
