-- newest: the list of the newest sends, for workers that wait for one: see `begin-newest`. For scripts that begin with
-- `-- include newest`.

-- More are not kept: where so many wait, nobody is idle.
local MOST_NEWEST, NEWEST_MS = 8, 10000
local function note_newest(list, stream, entry_id, record)
  local length = redis.call('RPUSH', list, stream .. ' ' .. entry_id .. ' ' .. record)
  if length == 1 then redis.call('PEXPIRE', list, NEWEST_MS) end
  if length > MOST_NEWEST then redis.call('LTRIM', list, -MOST_NEWEST, -1) end
end
