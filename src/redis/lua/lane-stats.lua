-- lane-stats: how full one lane of a capability is, at one moment.
-- include clock
-- KEYS  1: control stream
-- ARGV  1: group
-- Answers {entries, entries that workers have, age (ms) of the oldest entry that no worker has, or -1}.
local length = redis.call('XLEN', KEYS[1])
if length == 0 then return { 0, 0, -1 } end
local pending, last = 0, '-'
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local info = {}
  for at = 1, #flat, 2 do info[flat[at]] = flat[at + 1] end
  if info.name == ARGV[1] then pending, last = info.pending, '(' .. info['last-delivered-id'] end
end
local oldest = redis.call('XRANGE', KEYS[1], last, '+', 'COUNT', 1)[1]
if not oldest then return { length, pending, -1 } end
local now = tonumber(clock())
return { length, pending, math.max(0, now - tonumber(string.match(oldest[1], '^%d+'))) }
