-- take-unheard: hands a consumer again what it was handed by reads whose answers were lost.
-- KEYS  1: control stream
-- ARGV  1: group, 2: consumer; then ids
-- Answers the entries. Not those that somebody else has by now, nor what was delivered again, and both are seen here: the
-- call may come late. It counts as the first delivery still, since nobody has run it.
local taken = {}
for i = 3, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])[1]
  if pending and pending[4] == 1 then
    local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'RETRYCOUNT', 1)[1]
    -- Before 7.0 the server hands out deleted entries as nil.
    if entry and entry[2] then taken[#taken + 1] = entry end
  end
end
return taken
