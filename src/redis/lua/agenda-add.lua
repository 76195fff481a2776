-- agenda-add: notes what is to be done later.
-- include clock
-- include note
-- KEYS  per item: agenda (zset), its payloads (hash), its keeper (hash)
-- ARGV  per item: member, ms from now, payload
-- Answers per item what `note` says.
local now = clock()
local out = {}
for i = 1, #KEYS / 3 do
  out[i] = note(now, KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i], ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i])
end
return out
