-- agenda-add: notes what is to be done later.
-- include clock
-- KEYS  per item: agenda (zset), its payloads (hash), its keeper (hash)
-- ARGV  per item: member, ms from now, payload
-- Answers per item the id of the keeper if he sleeps longer than that and must be woken, else ''. An item that is there
-- already stays as it is.
local now = tonumber(clock())
local out = {}
for i = 1, #KEYS / 3 do
  local agenda, payloads, keeper = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local member, due = ARGV[3 * i - 2], now + ARGV[3 * i - 1]
  out[i] = ''
  if redis.call('ZADD', agenda, 'NX', string.format('%.0f', due), member) == 1 then
    redis.call('HSET', payloads, member, ARGV[3 * i])
    local held = redis.call('HMGET', keeper, 'id', 'wakes_at')
    if held[1] and due < tonumber(held[2]) then
      redis.call('HSET', keeper, 'wakes_at', string.format('%.0f', due))
      out[i] = held[1]
    end
  end
end
return out
