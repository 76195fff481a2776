-- surrender: lets go of entries that a consumer has and nobody runs any more: their lease counts as run out at once.
-- KEYS  1: control stream
-- ARGV  1: group, 2: consumer, 3: most entries; then ids (none: all that the consumer has)
-- Answers how many were let go.
local wanted = #ARGV > 3 and {} or nil
for i = 4, #ARGV do wanted[ARGV[i]] = true end
local ids = {}
for _, entry in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[3], ARGV[2])) do
  if not wanted or wanted[entry[1]] then ids[#ids + 1] = entry[1] end
end
if #ids == 0 then return 0 end
-- A month: longer than any lease.
ids[#ids + 1] = 'IDLE'
ids[#ids + 1] = 2592000000
ids[#ids + 1] = 'JUSTID'
return #redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(ids))
