-- agenda-cancel: takes back what is noted for a task that has its end, as far as no keeper has it in hand.
-- include clock
-- KEYS  1: agenda (zset), 2: its payloads (hash)
-- ARGV  1: member that puts the task on its stream, 2: after how long the keeper is to see to what is left of it (ms), 3: member
--       that lets it expire, if that is to go as well
-- Answers 1 if nobody was ever handed the first: then no entry of the task will come by it, and its member stays without
-- its payload until the record has its time to live. So a call that is repeated after a lost answer says the same, and
-- should the caller die the keeper goes on from there. What a keeper was handed (see `agenda-take`) takes its course: 0. Then
-- the third, which does not go but is noted, lets a keeper see to the entry that has come by then.
-- Answers -1 if the first is not noted, or no more: what was to come by it is on its stream by then.
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if due and due % 1 ~= 0 then
  if ARGV[3] then redis.call('ZADD', KEYS[1], string.format('%.0f', due), ARGV[3]) end
  return 0
end
if ARGV[3] then
  redis.call('ZREM', KEYS[1], ARGV[3])
  redis.call('HDEL', KEYS[2], ARGV[3])
end
if not due then return -1 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[1], string.format('%.0f', clock() + ARGV[2]), ARGV[1])
return 1
