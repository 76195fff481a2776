-- expire-ended: gives what a task has left a time to live if it has none, as long as the task has that very end.
-- KEYS  1: record, 2: the record or another key of the task
-- ARGV  1: the fence it ended with, 2: time to live (ms)
-- Answers 1 if it was given one; 0 also where the task has another life by now, which needs what it has.
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] or redis.call('PTTL', KEYS[2]) ~= -1 then return 0 end
return redis.call('PEXPIRE', KEYS[2], ARGV[2])
