-- renew: restarts the idle time of entries that a consumer still owns.
-- KEYS  1: control stream
-- ARGV  1: group, 2: consumer, 3: most entries of one consumer; then ids
-- Answers the ids that were renewed. XCLAIM alone would steal back what another consumer has taken over meanwhile.
local mine = {}
for _, entry in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[3], ARGV[2])) do mine[entry[1]] = true end
local live = {}
for i = 4, #ARGV do
  if mine[ARGV[i]] then live[#live + 1] = ARGV[i] end
end
if #live == 0 then return live end
live[#live + 1] = 'JUSTID'
return redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(live))
