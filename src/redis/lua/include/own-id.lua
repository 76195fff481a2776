-- own-id: an entry id that no other stream hands out. For scripts that begin with `-- include own-id`.

-- A fence names its entry by the id alone, and two streams that are written to in one millisecond both have `<ms>-0`. Where
-- a task may have entries on several lanes (it was sent twice), their numbers begin at one that is made of the lane's name;
-- 48 bits, which a double still counts exactly.
local function first_number(stream)
  return tonumber(string.sub(redis.sha1hex(stream), 1, 12), 16)
end

-- Gives what was just added with these fields an id of its stream's own, if it has none: Redis' clock went on, or has gone back.
local function under_own_id(stream, entry_id, ...)
  local ms, number = string.match(entry_id, '^(%d+)-(%d+)$')
  local first = first_number(stream)
  if tonumber(number) >= first then return entry_id end
  redis.call('XDEL', stream, entry_id)
  return redis.call('XADD', stream, string.format('%s-%.0f', ms, first), ...)
end
