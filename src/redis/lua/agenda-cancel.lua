-- agenda-cancel: strikes out what is noted for a task that has its end, as far as no keeper has it in hand.
-- KEYS  1: agenda (zset), 2: its payloads (hash)
-- ARGV  1: member that puts the task on its stream, 2: member that lets it expire, if that is to go as well
-- Answers 1 if the first was struck out and nobody was ever handed it: then no entry of the task will come by it. What a
-- keeper was handed (see `agenda-take`) takes its course.
if ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[2])
  redis.call('HDEL', KEYS[2], ARGV[2])
end
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not due or due % 1 ~= 0 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
