-- expire-unset: gives keys that have no time to live one, and leaves all others as they are.
-- KEYS  keys of one slot
-- ARGV  per key: time to live (ms)
-- Answers how many were given one.
local given = 0
for i = 1, #KEYS do
  if redis.call('PTTL', KEYS[i]) == -1 then given = given + redis.call('PEXPIRE', KEYS[i], ARGV[i]) end
end
return given
