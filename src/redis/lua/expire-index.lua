-- expire-index: gives a session's index that has no time to live one, unless a task without an end is in it.
-- include index
-- KEYS  1: session index, then per task: record
-- ARGV  1: time to live (ms); then per task: message id
-- Answers 1 if it was given one. Tasks that are in it as open and are not, or whose records are gone, are set right.
local time = redis.call('TIME')
local kept_until = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
for i = 2, #KEYS do
  local fence = redis.call('HGET', KEYS[i], 'fence')
  if not fence then
    redis.call('ZREM', KEYS[1], ARGV[i])
  elseif not string.find('CFXE', string.sub(fence, 1, 1), 1, true) then
    return 0
  elseif tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or 0) >= tonumber(OPEN) then
    redis.call('ZADD', KEYS[1], kept_until, ARGV[i])
  end
end
if redis.call('PTTL', KEYS[1]) ~= -1 or redis.call('ZCOUNT', KEYS[1], OPEN, '+inf') > 0 then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
