-- reclaim: takes over entries whose lease has run out, in place, so that their order is kept.
-- KEYS  1: control stream
-- ARGV  1: group, 2: consumer, 3: least idle time (ms), 4: cursor, 5: most entries
-- Answers {next cursor, {{id, {field, value…}, deliveries}…}}. The walk is bounded by the server (ten times the count)
-- and goes on from the cursor at the next call, so that entries in front cannot hide those behind.
local reply = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local taken = {}
for _, entry in ipairs(reply[2]) do
  -- Before 7.0 the server hands out deleted entries as nil; they cannot be told by id then, and stay for the next walk.
  if entry and entry[2] then
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1)
    taken[#taken + 1] = { entry[1], entry[2], pending[1] and pending[1][4] or 1 }
  end
end
return { reply[1], taken }
