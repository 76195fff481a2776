-- turn: acks and deletes what ended, then takes at most `count` entries, streams in the given order of precedence.
-- KEYS  control streams
-- ARGV  1: group, 2: consumer, 3: count; then per stream: number of ids, ids
-- Answers {index of the stream, {{id, {field, value…}}…}}… for the streams that had something.
-- XREADGROUP's own COUNT is per stream; only here is it a bound over all of them, so that nothing is taken for which
-- there is no free slot.
local at = 4
for i = 1, #KEYS do
  local n = tonumber(ARGV[at])
  if n > 0 then
    redis.call('XACK', KEYS[i], ARGV[1], unpack(ARGV, at + 1, at + n))
    redis.call('XDEL', KEYS[i], unpack(ARGV, at + 1, at + n))
  end
  at = at + n + 1
end
local left = tonumber(ARGV[3])
local out = {}
for i = 1, #KEYS do
  if left <= 0 then break end
  local reply = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', left, 'STREAMS', KEYS[i], '>')
  if reply and reply[1] then
    out[#out + 1] = { i, reply[1][2] }
    left = left - #reply[1][2]
  end
end
return out
