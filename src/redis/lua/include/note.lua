-- note: an item on the agenda. For scripts that begin with `-- include note`.

-- Notes an item for `delay` ms from now; one that is there already stays as it is. Answers the id of the keeper if he sleeps
-- longer than that and must be woken, else ''.
local function note(now, agenda, payloads, keeper, member, delay, payload)
  local due = now + delay
  if redis.call('ZADD', agenda, 'NX', string.format('%.0f', due), member) == 0 then return '' end
  redis.call('HSET', payloads, member, payload)
  local held = redis.call('HMGET', keeper, 'id', 'wakes_at')
  if not held[1] or due >= tonumber(held[2]) then return '' end
  redis.call('HSET', keeper, 'wakes_at', string.format('%.0f', due))
  return held[1]
end
