-- expire-events: gives a session's data stream that has no time to live one, unless a suspended task still needs what was
-- said.
-- include index
-- KEYS  1: data stream, 2: session index
-- ARGV  1: time to live (ms), 2: what the keys of the session's records begin with
-- Answers 1 if it was given one.
for _, message_id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], SUSPENDED, '+inf')) do
  local fence = redis.call('HGET', ARGV[2] .. message_id, 'fence')
  if fence and not string.find('CFXE', string.sub(fence, 1, 1), 1, true) then return 0 end
end
if redis.call('PTTL', KEYS[1]) ~= -1 then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
