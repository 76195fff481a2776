-- discard: removes dead letters together with their members of the index.
-- KEYS  1: stream of dead letters, 2: its index
-- ARGV  per letter: id, member
-- Answers per letter 1 if this call removed it. A letter that was gone leaves the index alone: its member may stand for
-- a newer letter by now.
local out = {}
for i = 1, #ARGV, 2 do
  local removed = redis.call('XDEL', KEYS[1], ARGV[i])
  if removed == 1 then redis.call('ZREM', KEYS[2], ARGV[i + 1]) end
  out[#out + 1] = removed
end
return out
