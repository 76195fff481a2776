-- give-back: puts entries back on control streams of one slot, with all the fields they had.
-- KEYS  per entry: control stream
-- ARGV  per entry: count of fields and values, fields and values
-- Answers the entry ids.
local out = {}
local at = 1
for i = 1, #KEYS do
  local count = tonumber(ARGV[at])
  out[i] = redis.call('XADD', KEYS[i], '*', unpack(ARGV, at + 1, at + count))
  at = at + count + 1
end
return out
