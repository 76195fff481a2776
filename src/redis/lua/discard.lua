-- discard: removes dead letters together with their members of the index.
-- KEYS  1: stream of dead letters, 2: its index
-- ARGV  per letter: id, member
-- Answers per letter 1 if this call removed it. The member goes only with the letter that it stands for: there may be a
-- newer one by now, also beside one that is over its time and was not trimmed yet.
local out = {}
for i = 1, #ARGV, 2 do
  local removed = redis.call('XDEL', KEYS[1], ARGV[i])
  local is_own = removed == 1 and redis.call('ZSCORE', KEYS[2], ARGV[i + 1]) == string.match(ARGV[i], '^%d+')
  if is_own then redis.call('ZREM', KEYS[2], ARGV[i + 1]) end
  out[#out + 1] = removed
end
return out
