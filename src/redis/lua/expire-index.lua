-- expire-index: gives a session's index that has no time to live one, unless a task without an end is in it.
-- KEYS  1: session index
-- ARGV  1: time to live (ms), 2: what the keys of the session's records begin with
-- Answers 1 if it was given one. Its count of tasks without an end is made anew, and tasks whose records are gone leave it.
local open = 0
for _, message_id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(0', '+inf')) do
  local fence = redis.call('HGET', ARGV[2] .. message_id, 'fence')
  if not fence then
    redis.call('ZREM', KEYS[1], message_id)
  elseif not string.find('CFXE', string.sub(fence, 1, 1), 1, true) then
    open = open + 1
  end
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[1], -open, '')
if open > 0 or redis.call('PTTL', KEYS[1]) ~= -1 then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
