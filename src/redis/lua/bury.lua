-- bury: keeps a dead letter, once for each member of the index.
-- include clock
-- KEYS  1: stream of dead letters, 2: its index
-- ARGV  1: member, 2: time to live of a letter (ms); then fields and values
-- Answers {1 if the letter was written now, 0 if there is one already; time of the letter (ms)}.
-- What is older than its time to live goes here as well, a bounded piece at each call; both keys go when their newest
-- letter has.
local oldest = string.format('%.0f', clock() - ARGV[2])
local at = redis.call('ZSCORE', KEYS[2], ARGV[1])
local is_new = 0
if not at or tonumber(at) < tonumber(oldest) then
  local id = redis.call('XADD', KEYS[1], 'MINID', '~', oldest, '*', unpack(ARGV, 3))
  at = string.match(id, '^%d+')
  redis.call('ZADD', KEYS[2], at, ARGV[1])
  is_new = 1
end
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. oldest, 'LIMIT', 0, 100)
if expired[1] then redis.call('ZREM', KEYS[2], unpack(expired)) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return { is_new, at }
